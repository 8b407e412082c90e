// A sequence of all layers, forward and backward, over the rows that need it alone: rows.h says which.
#pragma once
#include <type_traits>
#include "rows.h"
#include "../products.h"

// Some rows of a product, as it reads them, and where it writes.
template <typename A, typename T>
struct Gathered {
  typedef typename A::Element Element;
  std::vector<const Element*> rows;
  std::vector<T*> out;
  std::vector<Element> converted;
  int64_t depth, used = 0;
  Gathered(int64_t most, int64_t depth) : depth(A::depth(depth)) {
    rows.reserve(most), out.reserve(most);
    if (!std::is_same<Element, T>::value) converted.resize(most * this->depth);
  }
  void add(const T* row, int64_t numbers, T* to) {
    out.push_back(to);
    if constexpr (std::is_same<Element, T>::value) {
      rows.push_back(row);
    } else {
      Element* copy = converted.data() + used++ * depth;
      A::convert(row, numbers, 1, copy);
      rows.push_back(copy);
    }
  }
};

// Whether a part of a row is multiplied: ``written`` is whether the row is.
template <typename T>
static bool multiplies(const Loop<T>& p, const Part<T>& part, int64_t row, bool written) {
  return !p.skip || part.open(row) || (part.norm && written && part.passes(row));
}

template <typename A, typename T>
static void forward_step(const Loop<T>& p, const std::vector<Part<T>>& parts, int64_t t) {
  const Layer<T>& l = *p.layer;
  const int64_t count = list_rows(p, t), n = 4 * l.size, stride = padded<T>(n);
  const int64_t kept = l.keep ? p.written[t] + p.compared[t] : 0, written = p.written[t + 1] - p.written[t];
  auto* packed = reinterpret_cast<const typename A::Element*>(p.packed);
  for (const Part<T>& part : parts) {
    Gathered<A, T> some(count, part.width);
    T* out = part.norm ? part.norm->normed + kept * stride : p.products;
    for (int64_t b = 0; b < l.batch; ++b) {
      const int64_t row = t * l.batch + b, slot = p.slots[b];
      if (slot >= 0 && multiplies(p, part, row, slot < written))
        some.add(part.source + row * part.columns, part.width, out + slot * stride);
    }
    multiply<A, T>(some.rows, part.width, packed, n, some.out, !part.norm && part.start > 0);
    packed += stride * A::depth(part.width);
  }
  each_row(l.batch, l.size, [&](int64_t b) {
    const int64_t slot = p.slots[b], row = t * l.batch + b;
    T* pre = slot < 0 ? nullptr : p.products + slot * stride;
    if (pre && p.norms) {
      std::fill(pre, pre + n, T(0));
      for (const Part<T>& part : parts)
        if (multiplies(p, part, row, slot < written))
          normalise_row(*part.norm, kept + slot, n, part.gate ? part.gate[row] : T(1), pre);
    }
    forward_row(l, t, b, pre, l.gates + (kept + slot) * n);
    if (p.alive && l.keep) mark(p, t, b);
  });
}

// From the gradient of a written row's gates, the number ``at``, those of its normalised products.
template <typename T>
static void normalise_back(const Loop<T>& p, const std::vector<Part<T>>& parts, int64_t t, int64_t b, int64_t at) {
  const int64_t n = 4 * p.layer->size, row = t * p.layer->batch + b;
  for (const Part<T>& part : parts) {
    T* draw = part.norm->draw + at * n;
    if (multiplies(p, part, row, true)) {
      const T gate = part.gate ? part.gate[row] : T(1);
      const T dgate = normalise_back_row(*part.norm, at + p.compared[t], b, n, gate, p.layer->dpre + at * n, draw);
      if (part.dgate) part.dgate[b] += dgate;
    } else {
      std::fill(draw, draw + n, T(0));
    }
  }
}

// The gradients of the operands of step t's written rows, each part where its gradient goes anywhere.
template <typename A, typename T>
static void multiply_back(const Loop<T>& p, const std::vector<Part<T>>& parts, int64_t t, int64_t stride) {
  const Layer<T>& l = *p.layer;
  const int64_t n = 4 * l.size, first = p.written[t], written = p.written[t + 1] - first;
  auto* packed = reinterpret_cast<const typename A::Element*>(p.packed);
  T* out = p.operand_gradients;
  for (const Part<T>& part : parts) {
    const T* from = part.norm ? part.norm->draw : l.dpre;
    Gathered<A, T> some(written, n);
    for (int64_t i = 0; i < written; ++i) {
      const int64_t row = p.written_rows[first + i];
      T* to = out + i * stride;
      // With layer norm a gate has its gradient already.
      if (!p.skip || part.open(row) || (!part.norm && part.passes(row))) some.add(from + (first + i) * n, n, to);
      else std::fill(to, to + part.width, T(0));
    }
    multiply<A, T>(some.rows, n, packed, part.width, some.out, false);
    packed += padded<T>(part.width) * A::depth(n);
    out += padded<T>(part.width);
  }
}

template <typename A, typename T>
static void backward_step(const Loop<T>& p, const std::vector<Part<T>>& parts, int64_t t, const T* zeros) {
  const Layer<T>& l = *p.layer;
  const int64_t n = 4 * l.size, first = p.written[t], written = p.written[t + 1] - first;
  const int64_t below = padded<T>(l.size), above = below + padded<T>(l.below);
  const int64_t stride = above + padded<T>(l.above);
  find_rows(p, t);
  each_row(l.batch, l.size, [&](int64_t b) {
    if (p.dlevel)
      for (int64_t j = 0; j < l.size; ++j) l.dh[b * l.size + j] += p.dlevel[t * p.dlevel_step + b * p.dlevel_row + j];
    if (p.dboundary) l.dz[b] += p.dboundary[(t + 1) * l.batch + b];
    const int64_t slot = p.slots[b];
    const T* gates = l.gates + (first + p.compared[t] + slot) * n;
    if (slot >= 0 && slot < written) {
      backward_row(l, t, b, gates, l.dpre + (first + slot) * n);
      if (p.norms) normalise_back(p, parts, t, b, first + slot);
    } else {
      backward_copy(l, t, b, slot < 0 ? nullptr : gates);
    }
  });
  multiply_back<A, T>(p, parts, t, stride);
  each_row(l.batch, l.size, [&](int64_t b) {
    const int64_t slot = p.slots[b];
    const T* from = p.operand_gradients + slot * stride;
    if (slot >= 0 && slot < written) scatter_row(l, t, b, from, from + below, from + above);
    else if (l.z && !l.reads_hidden && l.dpre_boundary[t * l.batch + b] != 0) scatter_row(l, t, b, zeros, zeros, zeros);
  });
}

// The gradient of a part's matrix, without the boundary's row: of the written rows with an open gate, some at a time,
// the gradients of their products, transposed, times what these read.
template <typename A, typename T>
static void weight_gradient(const Loop<T>& p, const Part<T>& part, int64_t steps) {
  typedef typename A::Element Element;
  const Layer<T>& l = *p.layer;
  const int64_t n = 4 * l.size, width = part.width, stride = padded<T>(width), most = 256;
  std::vector<int64_t> open;  // numbers of written rows
  for (int64_t i = 0; i < p.written[steps]; ++i)
    if (part.open(p.written_rows[i])) open.push_back(i);
  std::vector<T> left(most * n), right(most * width), sum(n * stride);
  std::vector<Element> across(n * A::depth(most)), packed(stride * A::depth(most));
  std::vector<const Element*> rows(n);
  std::vector<T*> out(n);
  for (int64_t first = 0, total = open.size(); first < total; first += most) {
    const int64_t depth = std::min(most, total - first);
    for (int64_t k = 0; k < depth; ++k) {
      const int64_t i = open[first + k];
      std::memcpy(&left[k * n], (part.norm ? part.norm->draw : l.dpre) + i * n, n * sizeof(T));
      std::memcpy(&right[k * width], l.operands + p.written_rows[i] * l.columns + part.start, width * sizeof(T));
    }
    for (int64_t j = 0; j < n; ++j) {
      Element* row = across.data() + j * A::depth(depth);
      A::convert(left.data() + j, depth, n, row);
      rows[j] = row, out[j] = sum.data() + j * stride;
    }
    pack<A>(right.data(), width, 1, depth, width, packed.data());
    multiply<A, T>(rows, depth, packed.data(), width, out, true);
  }
  for (int64_t j = 0; j < n; ++j) std::memcpy(part.dmatrix + j * width, &sum[j * stride], width * sizeof(T));
}

// The gradient of the boundary's row of a part's matrix; what it reads is in the operand, or the state after the step.
template <typename T>
static void boundary_gradient(const Loop<T>& p, const Part<T>& part, int64_t steps) {
  const Layer<T>& l = *p.layer;
  if (!l.z || (l.reads_hidden && part.start)) return;
  T* sum = part.dmatrix + 4 * l.size * part.width;
  std::fill(sum, sum + part.width, T(0));
  for (int64_t row = 0; row < steps * l.batch; ++row) {
    const T d = l.dpre_boundary[row], *from = l.operands + (row + l.reads_hidden * l.batch) * l.columns + part.start;
    if (d != 0)
      for (int64_t j = 0; j < part.width; ++j) sum[j] += d * from[j];
  }
}

// The matrices for the products of one direction.
template <typename A, typename T>
static void pack_all(const Loop<T>& p, const std::vector<Part<T>>& parts, bool back) {
  auto* packed = reinterpret_cast<typename A::Element*>(p.packed);
  const int64_t n = 4 * p.layer->size;
  for (const Part<T>& part : parts) {
    const int64_t width = part.width;
    if (back) pack<A, T>(part.matrix, width, 1, n, width, packed);
    else pack<A, T>(part.matrix, 1, width, width, n, packed);
    packed += back ? padded<T>(width) * A::depth(n) : padded<T>(n) * A::depth(width);
  }
}

template <typename A, typename T>
static void forward_all(const Loop<T>* const* loops, int64_t count, int64_t steps) {
  std::vector<std::vector<Part<T>>> layers;
  for (int64_t i = 0; i < count; ++i) {
    const Loop<T>& p = *loops[i];
    layers.push_back(parts(p));
    pack_all<A>(p, layers[i], false);
    p.written[0] = p.compared[0] = 0;
    if (p.alive) std::fill(p.alive, p.alive + p.layer->batch, p.first_z_matters);
  }
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t i = 0; i < count; ++i) forward_step<A>(*loops[i], layers[i], t);
}

template <typename A, typename T>
static void backward_all(const Loop<T>* const* loops, int64_t count, int64_t steps) {
  std::vector<std::vector<Part<T>>> layers;
  int64_t widest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Layer<T>& l = *loops[i]->layer;
    widest = std::max({widest, l.size, l.below, l.above});
    layers.push_back(parts(*loops[i]));
    pack_all<A>(*loops[i], layers[i], true);
  }
  const std::vector<T> zeros(widest);
  for (int64_t t = steps; t-- > 0;)
    for (int64_t i = count; i-- > 0;) backward_step<A>(*loops[i], layers[i], t, zeros.data());
  for (int64_t i = 0; i < count; ++i)
    for (const Part<T>& part : layers[i]) {
      if (!part.dmatrix) continue;
      weight_gradient<A>(*loops[i], part, steps);
      boundary_gradient(*loops[i], part, steps);
    }
}

template <typename T>
static void forward_sequence(const Loop<T>* const* loops, int64_t count, int64_t steps) {
  if constexpr (std::is_same<T, float>::value)
    if (loops[0]->shortened) return forward_all<Short, T>(loops, count, steps);
  forward_all<Arithmetic<T>, T>(loops, count, steps);
}

template <typename T>
static void backward_sequence(const Loop<T>* const* loops, int64_t count, int64_t steps) {
  if constexpr (std::is_same<T, float>::value)
    if (loops[0]->shortened) return backward_all<Short, T>(loops, count, steps);
  backward_all<Arithmetic<T>, T>(loops, count, steps);
}
