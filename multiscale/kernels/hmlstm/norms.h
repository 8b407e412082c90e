// One product of a layer with layer norm, over its N columns: norms.py says what is computed.
#pragma once
#include "gates.h"
#include "../products.h"

// Rows are those of the gates that are kept, but of draw those of dpre.
template <typename T>
struct Norm {  // of one product; native.py reads the fields here too
  T *gain, *offset;
  T *normed, *inverse;
  T *draw, *dgain, *doffset;
};

// The product of a row, normalised where it lies, and added to pre with its gain, offset and gate.
template <typename T>
static void normalise_row(const Norm<T>& norm, int64_t row, int64_t n, T gate, T* pre) {
  T* x = norm.normed + row * padded<T>(n);
  const Moments<T> m(x, n);
  norm.inverse[row] = m.inverse_deviation;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    x[j] = (x[j] - m.mean) * m.inverse_deviation;
    pre[j] += gate * (x[j] * norm.gain[j] + norm.offset[j]);
  }
}

// From the gradient dpre of what the row was added to, that of the product before its gate; returns that of the gate.
template <typename T>
static T normalise_back_row(const Norm<T>& norm, int64_t row, int64_t b, int64_t n, T gate, const T* dpre, T* draw) {
  const T* x = norm.normed + row * padded<T>(n);
  T *dgain = norm.dgain + b * n, *doffset = norm.doffset + b * n;
  T sum = 0, correlation = 0, to_gate = 0;
#pragma omp simd reduction(+ : sum, correlation, to_gate)
  for (int64_t j = 0; j < n; ++j) {
    const T dx = dpre[j] * norm.gain[j];
    dgain[j] += gate * dpre[j] * x[j];
    doffset[j] += gate * dpre[j];
    sum += dx;
    correlation += dx * x[j];
    to_gate += dpre[j] * norm.offset[j];
  }
  to_gate += correlation;
  sum /= n, correlation /= n;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) draw[j] = norm.inverse[row] * (dpre[j] * norm.gain[j] - sum - x[j] * correlation);
  return to_gate;
}
