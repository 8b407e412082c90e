// One product with layer norm: norms.py says what is computed.
#pragma once
#include "gates.h"

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
