// Functions of numbers and of rows of them, written to vectorise.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

constexpr double kEpsilon = 1e-5;  // of torch.nn.LayerNorm

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
