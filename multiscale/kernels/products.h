// Products of gathered rows by a matrix that is packed once a sequence: no row is copied, each is read where it lies.
// A sum over the depth is one chain of additions, whatever other rows and threads there are, so that a result is the
// same bits in any company.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int64_t kBytes = 64, kVectors = 4;
#elif defined(__AVX__)
constexpr int64_t kBytes = 32, kVectors = 2;
#else
constexpr int64_t kBytes = 16, kVectors = 2;
#endif
constexpr int64_t kTile = 6;            // rows at once, times the vectors of a panel: the sums that registers hold
constexpr int64_t kDepth = 1024;        // of a panel at once: with the rows it stays in the second cache
constexpr int64_t kThreaded = 1 << 20;  // multiplications below which a second thread costs more than it does

template <typename T>
constexpr int64_t kPanel = kVectors * kBytes / sizeof(T);  // columns of a packed matrix that lie together

template <typename T>
static inline int64_t padded(int64_t columns) {
  return (columns + kPanel<T> - 1) / kPanel<T> * kPanel<T>;
}

// Two numbers of bfloat16 that are multiplied and added at once.
struct Pair {
  uint16_t low, high;
};

static inline uint16_t shortened(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest, ties to even
}

template <typename T>
struct Arithmetic {
  typedef T Vector __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
  typedef T Element;
  static inline int64_t depth(int64_t numbers) { return numbers; }
  static inline void convert(const T* from, int64_t numbers, int64_t stride, T* to) {
    for (int64_t k = 0; k < numbers; ++k) to[k] = from[k * stride];
  }
  static inline Vector add(Vector sum, T x, const T* w) { return sum + x * *reinterpret_cast<const Vector*>(w); }
};

struct Short : Arithmetic<float> {
  typedef Pair Element;
  static inline int64_t depth(int64_t numbers) { return (numbers + 1) / 2; }
  static inline void convert(const float* from, int64_t numbers, int64_t stride, Pair* to) {
    int64_t k = 0;
#ifdef __AVX512BF16__
    for (; stride == 1 && k + 16 <= numbers; k += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k / 2), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + k)));
#endif
    for (; k + 1 < numbers; k += 2)
      to[k / 2] = {shortened(from[k * stride]), shortened(from[(k + 1) * stride])};
    if (numbers % 2) to[numbers / 2] = {shortened(from[(numbers - 1) * stride]), 0};
  }
#ifdef __AVX512BF16__
  static inline Vector add(Vector sum, Pair x, const Pair* w) {
    int32_t both;
    std::memcpy(&both, &x, sizeof both);
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(both), (__m512bh)_mm512_loadu_si512(w));
  }
#else
  static inline Vector add(Vector sum, Pair, const Pair*) { return sum; }  // never called: short_products() is 0
#endif
};

// The matrix w(k, c), in panels of columns, each with the depth as its rows; columns are filled up with zeros.
template <typename A, typename T>
static void pack(const T* w, int64_t k_stride, int64_t c_stride, int64_t depth, int64_t columns,
                 typename A::Element* out) {
  const int64_t rows = A::depth(depth), block = 32;  // numbers at once of the depth, whose panel rows stay in cache
  typename A::Element column[block] = {};
  for (int64_t first = 0; first < padded<T>(columns); first += kPanel<T>, out += kPanel<T> * rows)
    for (int64_t k = 0; k < depth; k += block)
      for (int64_t c = first; c < first + kPanel<T>; ++c) {
        const int64_t numbers = std::min(block, depth - k);
        if (c < columns) A::convert(w + k * k_stride + c * c_stride, numbers, k_stride, column);
        else std::fill(column, column + block, typename A::Element{});
        typename A::Element* to = out + A::depth(k) * kPanel<T> + c - first;
        for (int64_t i = 0; i < A::depth(numbers); ++i) to[i * kPanel<T>] = column[i];
      }
}

// Rows times ``depth`` rows of a panel. What is read next, ``ahead``, is asked for meanwhile: a line of cache a step.
template <typename A, typename T, int R>
static void tile(const typename A::Element* const* rows, int64_t from, int64_t depth, const typename A::Element* panel,
                 const typename A::Element* ahead, T* const* out, int64_t at, bool add) {
  constexpr int64_t lanes = kBytes / sizeof(T);
  typedef typename A::Vector Vector;
  Vector sum[R][kVectors];
  const typename A::Element* x[R];
  for (int r = 0; r < R; ++r) x[r] = rows[r] + from;
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = add ? *reinterpret_cast<Vector*>(out[r] + at + v * lanes) : Vector{};
  for (int64_t k = 0; k < depth; ++k, panel += kPanel<T>, ahead += lanes) {
    __builtin_prefetch(ahead, 0, 2);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < kVectors; ++v) sum[r][v] = A::add(sum[r][v], x[r][k], panel + v * lanes);
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < kVectors; ++v) *reinterpret_cast<Vector*>(out[r] + at + v * lanes) = sum[r][v];
}

// All rows times ``depth`` rows of a panel, a tile of rows at a time; the first tiles ask for what lies behind.
template <typename A, typename T>
static void multiply_panel(const std::vector<const typename A::Element*>& rows, int64_t from, int64_t depth,
                           const typename A::Element* panel, const std::vector<T*>& out, int64_t at, bool add) {
  const int64_t count = rows.size(), part = depth * kPanel<T> / kVectors;
  for (int64_t i = 0, step, number = 0; i < count; i += step, ++number) {
    const int64_t tiles = (count - i + kTile - 1) / kTile;
    step = (count - i + tiles - 1) / tiles;
    const auto* ahead = panel + depth * kPanel<T> + std::min<int64_t>(number, kVectors - 1) * part;
    auto* x = rows.data() + i;
    auto* y = out.data() + i;
    switch (step) {
      case 1: tile<A, T, 1>(x, from, depth, panel, ahead, y, at, add); break;
      case 2: tile<A, T, 2>(x, from, depth, panel, ahead, y, at, add); break;
      case 3: tile<A, T, 3>(x, from, depth, panel, ahead, y, at, add); break;
      case 4: tile<A, T, 4>(x, from, depth, panel, ahead, y, at, add); break;
      case 5: tile<A, T, 5>(x, from, depth, panel, ahead, y, at, add); break;
      default: tile<A, T, 6>(x, from, depth, panel, ahead, y, at, add);
    }
  }
}

// Rows of numbers times a packed matrix, into the rows of ``out`` or added to them; columns are those before padding.
template <typename A, typename T>
static void multiply(const std::vector<const typename A::Element*>& rows, int64_t depth,
                     const typename A::Element* packed, int64_t columns, const std::vector<T*>& out, bool add) {
  const int64_t count = rows.size(), panels = padded<T>(columns) / kPanel<T>;
  depth = A::depth(depth);
#pragma omp parallel for if (count * depth * columns >= kThreaded)
  for (int64_t p = 0; p < panels; ++p)
    for (int64_t k = 0; k < depth; k += kDepth)
      multiply_panel<A, T>(rows, k, std::min(kDepth, depth - k), packed + (p * depth + k) * kPanel<T>, out,
                           p * kPanel<T>, add || k > 0);
}
