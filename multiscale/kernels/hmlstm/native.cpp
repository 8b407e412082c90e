// What native.py calls.
#include "gates.h"
#include "norms.h"
#include "sequence.h"

#define EXPORT(T, name)                                                                                  \
  extern "C" void forward_##name(const Layer<T>* l, int64_t t, const T* pre) {                           \
    each_row(l->batch, l->size, [=](int64_t b) {                                                         \
      const int64_t n = 4 * l->size;                                                                     \
      forward_row(*l, t, b, pre + b * n, l->gates + ((l->keep ? t : 0) * l->batch + b) * n);             \
    });                                                                                                  \
  }                                                                                                      \
  extern "C" void backward_##name(const Layer<T>* l, int64_t t, const T*) {                              \
    each_row(l->batch, l->size, [=](int64_t b) {                                                         \
      const int64_t at = (t * l->batch + b) * 4 * l->size;                                               \
      backward_row(*l, t, b, l->gates + at, l->dpre + at);                                               \
    });                                                                                                  \
  }                                                                                                      \
  extern "C" void scatter_##name(const Layer<T>* l, int64_t t, const T* doperand) {                      \
    each_row(l->batch, l->size, [=](int64_t b) {                                                         \
      const T* from = doperand + b * l->columns;                                                         \
      scatter_row(*l, t, b, from, from + l->size, from + l->size + l->below);                            \
    });                                                                                                  \
  }                                                                                                      \
  extern "C" void forward_sequence_##name(const Loop<T>* const* loops, int64_t count, int64_t steps) {   \
    forward_sequence(loops, count, steps);                                                               \
  }                                                                                                      \
  extern "C" void backward_sequence_##name(const Loop<T>* const* loops, int64_t count, int64_t steps) {  \
    backward_sequence(loops, count, steps);                                                              \
  }

// Of pointers and whole numbers, so the same for every T.
extern "C" int64_t sizeof_Layer() { return sizeof(Layer<float>); }
extern "C" int64_t sizeof_Norm() { return sizeof(Norm<float>); }
extern "C" int64_t sizeof_Loop() { return sizeof(Loop<float>); }

extern "C" int64_t panel_bytes() { return kVectors * kBytes; }

// Whether this machine multiplies bfloat16.
extern "C" int64_t short_products() {
#ifdef __AVX512BF16__
  return 1;
#else
  return 0;
#endif
}

EXPORT(float, float32)
EXPORT(double, float64)
