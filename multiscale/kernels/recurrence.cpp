// What recurrence.py calls: h_t = a_t tanh(d_t + W h_{t-1}) + (1 - a_t) h_{t-1} over a sequence, and its gradients.
#include "elementary.h"
#include "products.h"

constexpr int64_t kParallel = 1 << 14;  // elements below which a second thread costs more than it does

// All tensors but the weight [H, H] are contiguous. Of T steps, B samples and H units: active [T, 1 or B, H], or null for
// 1 everywhere; states [T + 1, B, H], the first of them given; fresh [T, B, H], the tanh, a single step of it where it
// need not be kept, null where active is;
// room [B, padded(H)].
template <typename T>
struct Recurrence {  // recurrence.py reads the fields here
  int64_t steps, batch, size, weight_row, weight_column, active_batch, fresh_step;
  T *weight, *drive, *active;
  T *states, *fresh, *packed, *room;
  T *dstates, *ddrive, *dactive;
};

template <typename T>
static void multiply_states(const Recurrence<T>& r, const T* from, bool add) {
  std::vector<const T*> rows(r.batch);
  std::vector<T*> out(r.batch);
  for (int64_t b = 0; b < r.batch; ++b) rows[b] = from + b * r.size, out[b] = r.room + b * padded<T>(r.size);
  multiply<Arithmetic<T>, T>(rows, r.size, r.packed, r.size, out, add);
}

template <typename T>
static void forward(const Recurrence<T>& r) {
  const int64_t step = r.batch * r.size;
  pack<Arithmetic<T>, T>(r.weight, r.weight_column, r.weight_row, r.size, r.size, r.packed);
  for (int64_t t = 0; t < r.steps; ++t) {
    const T* before = r.states + t * step;
    multiply_states(r, before, false);
#pragma omp parallel for if (step >= kParallel)
    for (int64_t b = 0; b < r.batch; ++b) {
      const int64_t row = t * step + b * r.size;
      const T *sum = r.room + b * padded<T>(r.size), *drive = r.drive + row, *old = before + b * r.size;
      const T* active = r.active ? r.active + (r.active_batch > 1 ? row : t * r.size) : nullptr;
      T *after = r.states + row + step, *fresh = r.fresh ? r.fresh + t * r.fresh_step + b * r.size : after;
      for (int64_t j = 0; j < r.size; ++j) fresh[j] = hyperbolic_tangent(drive[j] + sum[j]);
      if (active)
        for (int64_t j = 0; j < r.size; ++j) after[j] = active[j] * fresh[j] + (1 - active[j]) * old[j];
    }
  }
}

// The gradient of the state is kept in the room; that of the first state is what it holds at the end.
template <typename T>
static void backward(const Recurrence<T>& r) {
  const int64_t step = r.batch * r.size, columns = 256;
  pack<Arithmetic<T>, T>(r.weight, r.weight_row, r.weight_column, r.size, r.size, r.packed);
  std::fill(r.room, r.room + r.batch * padded<T>(r.size), T(0));
  for (int64_t t = r.steps; t-- > 0;) {
    const bool shared = r.active_batch == 1;
    // By columns, so that one thread sums what the samples of a batch share, in their order.
#pragma omp parallel for if (step >= kParallel)
    for (int64_t first = 0; first < r.size; first += columns) {
      const int64_t last = std::min(first + columns, r.size);
      for (int64_t b = 0; b < r.batch; ++b) {
        const int64_t row = t * step + b * r.size;
        const T *old = r.states + row, *given = r.dstates + row + step;
        const T* fresh = r.active ? r.fresh + row : r.states + row + step;
        T *dh = r.room + b * padded<T>(r.size), *ddrive = r.ddrive + row;
        if (!r.active) {
          for (int64_t j = first; j < last; ++j) {
            ddrive[j] = (dh[j] + given[j]) * (1 - fresh[j] * fresh[j]);
            dh[j] = 0;
          }
          continue;
        }
        const T* active = r.active + (shared ? t * r.size : row);
        T* dactive = r.dactive + (shared ? t * r.size : row);
        for (int64_t j = first; j < last; ++j) {
          const T d = dh[j] + given[j], part = d * (fresh[j] - old[j]);
          ddrive[j] = d * active[j] * (1 - fresh[j] * fresh[j]);
          dh[j] = d * (1 - active[j]);
          dactive[j] = shared && b ? dactive[j] + part : part;
        }
      }
    }
    multiply_states(r, r.ddrive + t * step, true);
  }
}

extern "C" int64_t sizeof_Recurrence() { return sizeof(Recurrence<float>); }
extern "C" int64_t panel_bytes() { return kVectors * kBytes; }
extern "C" void forward_float32(const Recurrence<float>* r) { forward(*r); }
extern "C" void forward_float64(const Recurrence<double>* r) { forward(*r); }
extern "C" void backward_float32(const Recurrence<float>* r) { backward(*r); }
extern "C" void backward_float64(const Recurrence<double>* r) { backward(*r); }
