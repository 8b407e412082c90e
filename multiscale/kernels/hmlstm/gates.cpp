// The elementwise part of an HM-LSTM's steps, for one layer at one time step: the same three functions as in
// gates.py, which define what is computed here, over the same buffers. Plain C++ with no torch header compiles
// in seconds and has no ABI to match.
#include <cmath>
#include <cstdint>
#include <cstring>

template <typename T>
struct Layer {  // native.py reads the fields here: one type a line, pointers or whole numbers
  int64_t batch, size, below, above, keep;
  int64_t flush, copy, mix, copy_boundary, reads_hidden, gated_gradient;
  T *operands, *operands_below, *operands_above;
  int64_t columns, columns_below, columns_above, offset_below, offset_above;
  T *cell, *gates, *z, *z_below, *threshold, *decided, *surrogate;
  T *bias, *boundary_weight, *slope, *choice_share, *norm_gain, *norm_offset;
  T *dpre, *dpre_boundary, *dh, *dc, *dz, *dh_below, *dz_below, *dh_above, *dinput, *scratch, *dgain, *doffset;
  int64_t input_step, input_row;
};

constexpr int64_t kParallel = 1 << 14;  // elements of a state below which a second thread costs more than it does
constexpr double kEpsilon = 1e-5;       // of torch.nn.LayerNorm

static inline float bits_to_float(int32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline int32_t float_to_bits(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// exp(x) = 2^n exp(r): written out because it must vectorise, to 1e-7 of the value.
static inline float exponential(float x) {
  x = x < -87.f ? -87.f : x;
  x = x > 87.f ? 87.f : x;
  const float shifted = x * 1.44269504f + 12582912.f;  // 1.5 * 2^23 leaves the nearest integer in the low bits
  const float n = shifted - 12582912.f;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.394216110e-03f;
  p = p * r + 8.363776144e-03f;
  p = p * r + 4.166636345e-02f;
  p = p * r + 1.666657336e-01f;
  p = p * r + 5.000000029e-01f;
  p = p * r * r + r + 1.f;
  return p * bits_to_float((float_to_bits(shifted) - 0x4b400000 + 127) << 23);
}

static inline float sigmoid(float x) { return 1.f / (1.f + exponential(-x)); }

// Near 0 an odd polynomial, which keeps the relative error of small values.
static inline float hyperbolic_tangent(float x) {
  const float size = std::fabs(x), u = x * x;
  float q = 2.296215535e-03f;
  q = q * u - 8.347086597e-03f;
  q = q * u + 2.176985763e-02f;
  q = q * u - 5.395935637e-02f;
  q = q * u + 1.333330363e-01f;
  q = q * u - 3.333333316e-01f;
  const float small = q * u * x + x;
  const float large = std::copysign(1.f - 2.f / (1.f + exponential(2.f * size)), x);
  return size > 0.625f ? large : small;
}

static inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
static inline double hyperbolic_tangent(double x) { return std::tanh(x); }

template <typename T>
static inline T dot(const T* a, const T* b, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += a[j] * b[j];
  return sum;
}

template <typename T>
struct Moments {
  T mean, inverse_deviation;
  Moments(const T* x, int64_t n) {
    T sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) sum += x[j];
    mean = sum / n;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < n; ++j) squares += (x[j] - mean) * (x[j] - mean);
    inverse_deviation = 1 / std::sqrt(squares / n + T(kEpsilon));
  }
};

template <typename T>
struct Norm {  // of one product; read by native.py too
  int64_t batch, columns, keep;
  T *gain, *offset, *gate, *raw, *draw, *dgate, *dgain, *doffset;
};

template <typename T>
static void normalise_row(const Norm<T>& norm, int64_t t, int64_t b, const T* product, T* pre) {
  const int64_t n = norm.columns;
  T* raw = norm.raw + ((norm.keep ? t : 0) * norm.batch + b) * n;
  const T gate = norm.gate ? norm.gate[t * norm.batch + b] : T(1);
  product += b * n, pre += b * n;
  const Moments<T> m(product, n);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    raw[j] = product[j];
    pre[j] += gate * ((product[j] - m.mean) * m.inverse_deviation * norm.gain[j] + norm.offset[j]);
  }
}

template <typename T>
static void normalise_backward_row(const Norm<T>& norm, int64_t t, int64_t b, const T* dpre) {
  const int64_t n = norm.columns, row = t * norm.batch + b;
  const T gate = norm.gate ? norm.gate[row] : T(1);
  const T* raw = norm.raw + row * n;
  T *draw = norm.draw + row * n, *dgain = norm.dgain + b * n, *doffset = norm.doffset + b * n;
  dpre += b * n;
  const Moments<T> m(raw, n);
  T sum = 0, correlation = 0, to_gate = 0;
#pragma omp simd reduction(+ : sum, correlation, to_gate)
  for (int64_t j = 0; j < n; ++j) {
    const T x = (raw[j] - m.mean) * m.inverse_deviation, dx = dpre[j] * norm.gain[j];
    dgain[j] += gate * dpre[j] * x;
    doffset[j] += gate * dpre[j];
    sum += dx;
    correlation += dx * x;
    to_gate += dpre[j] * (x * norm.gain[j] + norm.offset[j]);
  }
  sum /= n, correlation /= n;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T x = (raw[j] - m.mean) * m.inverse_deviation;
    draw[j] = m.inverse_deviation * (dpre[j] * norm.gain[j] - sum - x * correlation);
  }
  if (norm.dgate) norm.dgate[b] += to_gate;
}

template <typename T>
struct Operation {  // how much of each a row does
  T z_prev, z_below, flush, update, copy, rewritten;
  Operation(const Layer<T>& l, int64_t t, int64_t b) {
    z_prev = l.z ? l.z[t * l.batch + b] : T(0);
    z_below = l.z_below ? l.z_below[t * l.batch + b] : T(1);
    copy = l.copy ? (1 - z_prev) * (1 - z_below) : T(0);
    flush = l.flush ? z_prev : T(0);
    update = 1 - copy - flush;
    rewritten = flush + update;
  }
};

template <typename T>
static void boundary(const Layer<T>& l, int64_t t, int64_t b, const T* operand, const T* h, const Operation<T>& op) {
  const T score = l.reads_hidden ? dot(h, l.boundary_weight, l.size) : dot(operand, l.boundary_weight, l.columns);
  const T raw = score + l.bias[4 * l.size];
  const T line = (*l.slope * raw + 1) / 2;
  const T soft = line < 0 ? T(0) : line > 1 ? T(1) : line;
  const int64_t kept = (l.keep ? t : 0) * l.batch + b;
  T z = l.threshold ? T(soft > l.threshold[t * l.batch + b]) : soft;
  if (soft != soft) z = soft;  // a boundary of NaN must not pass for a 0
  l.surrogate[kept] = line >= 0 && line <= 1 ? *l.slope / 2 : T(0);
  l.decided[kept] = z;
  if (l.copy_boundary == 1) z = op.rewritten * z + op.copy * op.z_prev;
  if (l.copy_boundary == 2) z = op.rewritten * z;
  if (l.copy_boundary == 3) z = op.z_below * z;
  l.z[(t + 1) * l.batch + b] = z;
}

// The boundary after the step, and h where the steps of the layers beside will read it.
template <typename T>
static void finish_row(const Layer<T>& l, int64_t t, int64_t b, const T* operand, const T* h, const Operation<T>& op) {
  const int64_t n = l.size;
  if (l.z) boundary(l, t, b, operand, h, op);
  if (l.operands_above) {  // z_t^l h_t^l is what the layer above reads now
    T* to = l.operands_above + (t * l.batch + b) * l.columns_above + l.offset_above;
    const T z = l.z[(t + 1) * l.batch + b];
    for (int64_t j = 0; j < n; ++j) to[j] = z * h[j];
  }
  if (l.offset_below) {  // z_t^{l-1} h_t^l is what the layer below reads at the next step
    T* to = l.operands_below + ((t + 1) * l.batch + b) * l.columns_below + l.offset_below;
    for (int64_t j = 0; j < n; ++j) to[j] = op.z_below * h[j];
  }
}

template <typename T>
static void forward_row(const Layer<T>& l, int64_t t, int64_t b, const T* pre) {
  const int64_t n = l.size;
  const Operation<T> op(l, t, b);
  const T* operand = l.operands + (t * l.batch + b) * l.columns;
  T* h = l.operands + ((t + 1) * l.batch + b) * l.columns;
  const T* c_prev = l.cell + (t * l.batch + b) * n;
  T* c = l.cell + ((t + 1) * l.batch + b) * n;
  T* gates = l.gates + ((l.keep ? t : 0) * l.batch + b) * 4 * n;
  pre += b * 4 * n;
  if (!l.keep && op.rewritten == 0) {
    std::memcpy(h, operand, n * sizeof(T));
    std::memcpy(c, c_prev, n * sizeof(T));
    finish_row(l, t, b, operand, h, op);
    return;
  }
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T f = sigmoid(pre[j] + l.bias[j]), i = sigmoid(pre[n + j] + l.bias[n + j]);
    const T o = sigmoid(pre[2 * n + j] + l.bias[2 * n + j]);
    const T g = hyperbolic_tangent(pre[3 * n + j] + l.bias[3 * n + j]);
    gates[j] = f, gates[n + j] = i, gates[2 * n + j] = o, gates[3 * n + j] = g;
    c[j] = op.rewritten * (i * g) + op.update * f * c_prev[j] + op.copy * c_prev[j];
  }
  if (l.norm_gain) {
    const Moments<T> m(c, n);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      const T read = (c[j] - m.mean) * m.inverse_deviation * l.norm_gain[j] + l.norm_offset[j];
      h[j] = op.rewritten * gates[2 * n + j] * hyperbolic_tangent(read) + op.copy * operand[j];
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j)
      h[j] = op.rewritten * gates[2 * n + j] * hyperbolic_tangent(c[j]) + op.copy * operand[j];
  }
  finish_row(l, t, b, operand, h, op);
}

// tanh of the cell, and the gradient that reaches the cell through it, into the scratch rows.
template <typename T>
static void through_tanh(const Layer<T>& l, int64_t b, T rewritten, const T* c, const T* o, const T* dh, T* tanh_c,
                         T* dcell) {
  const int64_t n = l.size;
  if (!l.norm_gain) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      tanh_c[j] = hyperbolic_tangent(c[j]);
      dcell[j] = dh[j] * rewritten * o[j] * (1 - tanh_c[j] * tanh_c[j]);
    }
    return;
  }
  const Moments<T> m(c, n);
  T sum = 0, correlation = 0;
  T *dgain = l.dgain + b * n, *doffset = l.doffset + b * n;
#pragma omp simd reduction(+ : sum, correlation)
  for (int64_t j = 0; j < n; ++j) {
    const T x = (c[j] - m.mean) * m.inverse_deviation;
    tanh_c[j] = hyperbolic_tangent(x * l.norm_gain[j] + l.norm_offset[j]);
    const T d = dh[j] * rewritten * o[j] * (1 - tanh_c[j] * tanh_c[j]);
    dgain[j] += d * x;
    doffset[j] += d;
    dcell[j] = d * l.norm_gain[j];
    sum += dcell[j];
    correlation += dcell[j] * x;
  }
  sum /= n, correlation /= n;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j)
    dcell[j] = m.inverse_deviation * (dcell[j] - sum - (c[j] - m.mean) * m.inverse_deviation * correlation);
}

template <typename T>
static void backward_row(const Layer<T>& l, int64_t t, int64_t b) {
  const int64_t n = l.size, row = t * l.batch + b;
  const Operation<T> op(l, t, b);
  const T *h_prev = l.operands + row * l.columns, *c_prev = l.cell + row * n;
  const T *f = l.gates + row * 4 * n, *i = f + n, *o = i + n, *g = o + n;
  T *df = l.dpre + row * 4 * n, *di = df + n, *do_ = di + n, *dg = do_ + n;
  T *dh = l.dh + b * n, *dc = l.dc + b * n;
  T *tanh_c = l.scratch + 2 * b * n, *dcell = tanh_c + n;
  T to_rewritten = 0, to_update = 0, to_copy = 0, dz_prev = 0;
  if (l.z) {
    T dz = l.dz[b];
    if (l.copy_boundary == 3) {
      if (l.dz_below) l.dz_below[b] += dz * l.decided[row];
      dz *= op.z_below;
    } else if (l.copy_boundary != 0) {
      to_rewritten = dz * l.decided[row];
      if (l.copy_boundary == 1) to_copy = dz * op.z_prev, dz_prev = op.copy * dz;
      dz *= op.rewritten;
    }
    const T d_boundary = l.dpre_boundary[row] = dz * l.surrogate[row];
    if (l.reads_hidden)
      for (int64_t j = 0; j < n; ++j) dh[j] += d_boundary * l.boundary_weight[j];
  }
  through_tanh(l, b, op.rewritten, l.cell + (row + l.batch) * n, o, dh, tanh_c, dcell);
#pragma omp simd reduction(+ : to_rewritten, to_update, to_copy)
  for (int64_t j = 0; j < n; ++j) {
    const T d = dc[j] + dcell[j], kept = d * c_prev[j], written = op.rewritten * d;
    to_rewritten += dh[j] * o[j] * tanh_c[j] + d * i[j] * g[j];
    to_update += kept * f[j];
    to_copy += dh[j] * h_prev[j] + kept;
    df[j] = op.update * kept * f[j] * (1 - f[j]);
    di[j] = written * g[j] * i[j] * (1 - i[j]);
    do_[j] = op.rewritten * dh[j] * tanh_c[j] * o[j] * (1 - o[j]);
    dg[j] = written * i[j] * (1 - g[j] * g[j]);
    dc[j] = d * (op.update * f[j] + op.copy);
    dh[j] *= op.copy;
  }
  if (l.mix) {
    to_update *= *l.choice_share;
    const T against_copy = *l.choice_share * (to_rewritten - to_copy) + to_update;
    if (l.flush) dz_prev -= to_update;
    if (l.copy) {
      dz_prev += (1 - op.z_below) * against_copy;
      if (l.dz_below) l.dz_below[b] += (1 - op.z_prev) * against_copy;
    }
  }
  if (l.z) l.dz[b] = dz_prev;
}

// The gradient of one row's operand, to the states that it was made of.
template <typename T>
static void scatter_row(const Layer<T>& l, int64_t t, int64_t b, const T* doperand) {
  const int64_t n = l.size, row = t * l.batch + b;
  const T d_boundary = l.z && !l.reads_hidden ? l.dpre_boundary[row] : T(0);
  const T *from = doperand + b * l.columns, *w = l.boundary_weight;
  T* dh = l.dh + b * n;
  for (int64_t j = 0; j < n; ++j) dh[j] += from[j] + d_boundary * w[j];
  from += n, w += n;
  if (!l.dh_below) {
    T* to = l.dinput + t * l.input_step + b * l.input_row;
    for (int64_t j = 0; j < l.below; ++j) to[j] = from[j] + d_boundary * w[j];
  } else {
    const T* h_below = l.operands_below + ((t + 1) * l.batch + b) * l.columns_below;
    const T z_below = l.z_below[row];
    T *to = l.dh_below + b * l.below, sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < l.below; ++j) {
      const T d_raw = d_boundary * w[j], d = from[j] + d_raw;
      to[j] += z_below * d;
      sum += (l.gated_gradient ? d : d_raw) * h_below[j];
    }
    l.dz_below[b] += sum;
  }
  if (!l.above) return;
  from += l.below, w += l.below;
  const T *h_above = l.operands_above + row * l.columns_above, z_prev = l.z[row];
  T *to = l.dh_above + b * l.above, sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < l.above; ++j) {
    const T d_raw = d_boundary * w[j], d = from[j] + d_raw;
    to[j] += z_prev * d;
    sum += (l.gated_gradient ? d : d_raw) * h_above[j];
  }
  l.dz[b] += sum;
}

template <typename Call>
static void each_row(int64_t rows, int64_t columns, Call call) {
#pragma omp parallel for if (rows * columns >= kParallel)
  for (int64_t b = 0; b < rows; ++b) call(b);
}

#define EXPORT(T, name)                                                                                \
  extern "C" void forward_##name(const Layer<T>* l, int64_t t, const T* pre) {                         \
    each_row(l->batch, l->size, [=](int64_t b) { forward_row(*l, t, b, pre); });                       \
  }                                                                                                    \
  extern "C" void backward_##name(const Layer<T>* l, int64_t t, const T*) {                            \
    each_row(l->batch, l->size, [=](int64_t b) { backward_row(*l, t, b); });                           \
  }                                                                                                    \
  extern "C" void scatter_##name(const Layer<T>* l, int64_t t, const T* doperand) {                    \
    each_row(l->batch, l->size, [=](int64_t b) { scatter_row(*l, t, b, doperand); });                  \
  }                                                                                                    \
  extern "C" void normalise_##name(const Norm<T>* norm, int64_t t, const T* product, T* pre) {         \
    each_row(norm->batch, norm->columns, [=](int64_t b) { normalise_row(*norm, t, b, product, pre); }); \
  }                                                                                                    \
  extern "C" void normalise_backward_##name(const Norm<T>* norm, int64_t t, const T* dpre, T*) {       \
    each_row(norm->batch, norm->columns, [=](int64_t b) { normalise_backward_row(*norm, t, b, dpre); }); \
  }

// Of pointers and whole numbers, so the same for every T.
extern "C" int64_t sizeof_Layer() { return sizeof(Layer<float>); }
extern "C" int64_t sizeof_Norm() { return sizeof(Norm<float>); }

EXPORT(float, float32)
EXPORT(double, float64)
