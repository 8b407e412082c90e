// A sequence of all layers, forward and backward, over the rows that need it alone.
//
// A row that updates or flushes is written. One that copies passes its state, and the gradients of it, on; its gates
// matter to the gradient of its choice of operation, and to that alone. It ends in the slopes of the boundaries that the
// choice was made by, z_{t-1}^l and z_t^{l-1}: where none of them passes gradient on to anything, or where no gradient
// goes through choices, those gates are left out. The others are compared with.
#pragma once
#include <type_traits>
#include "gates.h"
#include "../products.h"

template <typename T>
struct Loop {  // of one layer; native.py reads the fields here too
  Layer<T> *layer;
  int64_t skip, shortened, first_z_matters;
  T *recurrent, *bottom_up, *top_down;
  T *packed, *products, *operand_gradients;
  uint8_t *alive, *alive_below;
  int64_t *written, *written_rows, *compared, *compared_rows, *slots;
  T *dlevel, *dboundary;
  int64_t dlevel_step, dlevel_row;
};

template <typename T>
struct Part {  // of a layer's operand: one of its three products
  const T* matrix;
  int64_t width, start;  // in the operand
};

template <typename T>
static std::vector<Part<T>> parts(const Loop<T>& p) {
  const Layer<T>& l = *p.layer;
  std::vector<Part<T>> found = {{p.recurrent, l.size, 0}, {p.bottom_up, l.below, l.size}};
  if (l.above) found.push_back({p.top_down, l.above, l.size + l.below});
  return found;
}

// Whether z, slot t, passes gradient on to anything.
template <typename T>
static bool matters(const uint8_t* alive, const Layer<T>& l, int64_t t, int64_t b) {
  return alive && alive[t * l.batch + b];
}

// The gates of a copied row are compared with what it does.
template <typename T>
static bool compares(const Loop<T>& p, int64_t t, int64_t b) {
  const Layer<T>& l = *p.layer;
  if (!p.skip) return true;
  if (!l.keep || !l.mix || *l.choice_share == 0) return false;
  return matters(p.alive, l, t, b) || matters(p.alive_below, l, t + 1, b);
}

// Marks whether z_t^l passes gradient on: to its slope, or by the rule for COPY steps to the boundaries around it.
template <typename T>
static void mark(const Loop<T>& p, int64_t t, int64_t b) {
  const Layer<T>& l = *p.layer;
  const Operation<T> op(l, t, b);
  const int64_t row = t * l.batch + b;
  const bool slope = l.surrogate[row] != 0, below = matters(p.alive_below, l, t + 1, b), before = p.alive[row];
  bool& found = reinterpret_cast<bool&>(p.alive[row + l.batch]);
  found = slope;
  if (l.copy_boundary == 3) found = (slope && op.z_below != 0) || (below && l.decided[row] != 0);
  if (l.copy_boundary == 1 || l.copy_boundary == 2) {
    const bool chooses = l.mix && l.copy && *l.choice_share != 0;
    found = (slope && op.rewritten != 0) || (l.copy_boundary == 1 && before && op.copy != 0) ||
            (chooses && ((before && op.z_below != 1) || (below && op.z_prev != 1)));
  }
}

// The slots of step t's rows, the written ones first; returns how many there are.
template <typename T>
static int64_t find_rows(const Loop<T>& p, int64_t t) {
  const int64_t first = t * p.layer->batch;
  int64_t count = 0;
  std::fill(p.slots, p.slots + p.layer->batch, -1);
  for (int64_t i = p.written[t]; i < p.written[t + 1]; ++i) p.slots[p.written_rows[i] - first] = count++;
  for (int64_t i = p.compared[t]; i < p.compared[t + 1]; ++i) p.slots[p.compared_rows[i] - first] = count++;
  return count;
}

// The rows of step t, in two lists that go on from those of the step before.
template <typename T>
static int64_t list_rows(const Loop<T>& p, int64_t t) {
  const Layer<T>& l = *p.layer;
  int64_t *written = p.written_rows + p.written[t], *compared = p.compared_rows + p.compared[t];
  for (int64_t b = 0; b < l.batch; ++b) {
    if (Operation<T>(l, t, b).rewritten != 0) *written++ = t * l.batch + b;
    else if (compares(p, t, b)) *compared++ = t * l.batch + b;
  }
  p.written[t + 1] = written - p.written_rows;
  p.compared[t + 1] = compared - p.compared_rows;
  return find_rows(p, t);
}

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

template <typename A, typename T>
static void forward_step(const Loop<T>& p, int64_t t) {
  const Layer<T>& l = *p.layer;
  const int64_t count = list_rows(p, t), n = 4 * l.size, stride = padded<T>(n);
  auto* packed = reinterpret_cast<const typename A::Element*>(p.packed);
  for (const Part<T>& part : parts(p)) {
    // A closed gate hides the product of what it gates.
    const T* gate = !p.skip || !part.start ? nullptr : part.start == l.size ? l.z_below : l.z;
    Gathered<A, T> some(count, part.width);
    for (int64_t b = 0; b < l.batch; ++b) {
      const int64_t row = t * l.batch + b;
      if (p.slots[b] < 0 || (gate && gate[row] == 0)) continue;
      some.add(l.operands + row * l.columns + part.start, part.width, p.products + p.slots[b] * stride);
    }
    multiply<A, T>(some.rows, part.width, packed, n, some.out, part.start > 0);
    packed += stride * A::depth(part.width);
  }
  T* gates = l.gates + (l.keep ? p.written[t] + p.compared[t] : 0) * n;
  each_row(l.batch, l.size, [=](int64_t b) {
    const int64_t slot = p.slots[b];
    forward_row(l, t, b, slot < 0 ? nullptr : p.products + slot * stride, gates + slot * n);
    if (p.alive && l.keep) mark(p, t, b);
  });
}

// The gradients of the operands of step t's written rows, each part where its gradient goes anywhere.
template <typename A, typename T>
static void multiply_back(const Loop<T>& p, int64_t t, int64_t written, int64_t stride) {
  const Layer<T>& l = *p.layer;
  const int64_t n = 4 * l.size;
  auto* packed = reinterpret_cast<const typename A::Element*>(p.packed);
  T* out = p.operand_gradients;
  Gathered<A, T> all(written, n);
  for (int64_t i = p.written[t]; i < p.written[t + 1]; ++i) all.add(l.dpre + i * n, n, nullptr);
  for (const Part<T>& part : parts(p)) {
    const T* gate = !part.start ? nullptr : part.start == l.size ? l.z_below : l.z;
    const uint8_t* alive = part.start == l.size ? p.alive_below + l.batch : p.alive;
    Gathered<A, T> some(0, n);
    for (int64_t i = 0; i < written; ++i) {
      const int64_t row = p.written_rows[p.written[t] + i];
      T* to = out + i * stride;
      if (!p.skip || !gate || gate[row] != 0 || alive[row]) some.rows.push_back(all.rows[i]), some.out.push_back(to);
      else std::fill(to, to + part.width, T(0));
    }
    multiply<A, T>(some.rows, n, packed, part.width, some.out, false);
    packed += padded<T>(part.width) * A::depth(n);
    out += padded<T>(part.width);
  }
}

template <typename A, typename T>
static void backward_step(const Loop<T>& p, int64_t t, const T* zeros) {
  const Layer<T>& l = *p.layer;
  const int64_t n = 4 * l.size, first = p.written[t], written = p.written[t + 1] - first;
  const int64_t below = padded<T>(l.size), above = below + padded<T>(l.below);
  const int64_t stride = above + padded<T>(l.above);
  find_rows(p, t);
  each_row(l.batch, l.size, [=](int64_t b) {
    if (p.dlevel)
      for (int64_t j = 0; j < l.size; ++j) l.dh[b * l.size + j] += p.dlevel[t * p.dlevel_step + b * p.dlevel_row + j];
    if (p.dboundary) l.dz[b] += p.dboundary[(t + 1) * l.batch + b];
    const int64_t slot = p.slots[b];
    const T* gates = l.gates + (first + p.compared[t] + slot) * n;
    if (slot >= 0 && slot < written) backward_row(l, t, b, gates, l.dpre + (first + slot) * n);
    else backward_copy(l, t, b, slot < 0 ? nullptr : gates);
  });
  multiply_back<A, T>(p, t, written, stride);
  each_row(l.batch, l.size, [=](int64_t b) {
    const int64_t slot = p.slots[b];
    const T* from = p.operand_gradients + slot * stride;
    if (slot >= 0 && slot < written) scatter_row(l, t, b, from, from + below, from + above);
    else if (l.z && !l.reads_hidden && l.dpre_boundary[t * l.batch + b] != 0) scatter_row(l, t, b, zeros, zeros, zeros);
  });
}

// The matrices for the products of one direction.
template <typename A, typename T>
static void pack_all(const Loop<T>& p, bool back) {
  auto* packed = reinterpret_cast<typename A::Element*>(p.packed);
  const int64_t n = 4 * p.layer->size;
  for (const Part<T>& part : parts(p)) {
    const int64_t width = part.width;
    if (back) pack<A, T>(part.matrix, width, 1, n, width, packed);
    else pack<A, T>(part.matrix, 1, width, width, n, packed);
    packed += back ? padded<T>(width) * A::depth(n) : padded<T>(n) * A::depth(width);
  }
}

template <typename A, typename T>
static void forward_all(const Loop<T>* const* loops, int64_t count, int64_t steps) {
  for (int64_t i = 0; i < count; ++i) {
    const Loop<T>& p = *loops[i];
    pack_all<A>(p, false);
    p.written[0] = p.compared[0] = 0;
    if (p.alive) std::fill(p.alive, p.alive + p.layer->batch, p.first_z_matters);
  }
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t i = 0; i < count; ++i) forward_step<A>(*loops[i], t);
}

template <typename A, typename T>
static void backward_all(const Loop<T>* const* loops, int64_t count, int64_t steps) {
  int64_t widest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Layer<T>& l = *loops[i]->layer;
    widest = std::max({widest, l.size, l.below, l.above});
    pack_all<A>(*loops[i], true);
  }
  const std::vector<T> zeros(widest);
  for (int64_t t = steps; t-- > 0;)
    for (int64_t i = count; i-- > 0;) backward_step<A>(*loops[i], t, zeros.data());
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
