// The rows of a sequence that need their products: which update or flush, and which copies are compared with.
//
// A row that updates or flushes is written. One that copies passes its state, and the gradients of it, on; its gates
// matter to the gradient of its choice of operation, and to that alone. It ends in the slopes of the boundaries that the
// choice was made by, z_{t-1}^l and z_t^{l-1}: where none of them passes gradient on to anything, or where no gradient
// goes through choices, those gates are left out. The others are compared with.
//
// With layer norm a product that a closed gate hides is made all the same where that gate passes gradient on, which is
// what the product would have added.
#pragma once
#include "gates.h"
#include "norms.h"

template <typename T>
struct Loop {  // of one layer; native.py reads the fields here too
  Layer<T> *layer;
  int64_t skip, shortened, first_z_matters;
  T *recurrent, *bottom_up, *top_down;
  Norm<T> *norms;
  T *packed, *products, *operand_gradients;
  uint8_t *alive, *alive_below;
  int64_t *written, *written_rows, *compared, *compared_rows, *slots;
  T *dlevel, *dboundary;
  T *drecurrent, *dbottom_up, *dtop_down;
  int64_t dlevel_step, dlevel_row;
};

template <typename T>
struct Part {  // of a layer's operand: one of its three products
  const T* matrix;
  int64_t width, start;  // in the operand
  const T* source;       // what the product reads, a row of so many columns for each of [T B]
  int64_t columns;
  const T* gate;         // [T B]; null where it is always open
  const uint8_t* alive;  // whether the gate passes gradient on
  const Norm<T>* norm;
  T *dgate, *dmatrix;
  bool open(int64_t row) const { return !gate || gate[row] != 0; }
  bool passes(int64_t row) const { return alive && alive[row]; }
};

// Before their norms products read states as they are, which their gates have not yet touched.
template <typename T>
static std::vector<Part<T>> parts(const Loop<T>& p) {
  const Layer<T>& l = *p.layer;
  const T *below = l.operands + l.size, *above = below + l.below;
  const Norm<T>* norm = p.norms;
  const bool raw_below = norm && l.operands_below, raw_above = norm && l.operands_above;
  std::vector<Part<T>> found = {
      {p.recurrent, l.size, 0, l.operands, l.columns, nullptr, nullptr, norm, nullptr,
       p.drecurrent},
      {p.bottom_up, l.below, l.size, raw_below ? l.operands_below + l.batch * l.columns_below : below,
       raw_below ? l.columns_below : l.columns, l.z_below, p.alive_below ? p.alive_below + l.batch : nullptr,
       norm ? norm + 1 : nullptr, l.dz_below, p.dbottom_up}};
  if (l.above)
    found.push_back({p.top_down, l.above, l.size + l.below, raw_above ? l.operands_above : above,
                     raw_above ? l.columns_above : l.columns, l.z, p.alive, norm ? norm + 2 : nullptr, l.dz,
                     p.dtop_down});
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
