// The elementwise part of an HM-LSTM's steps, for one layer at one time step: the same three functions as in
// gates.py, which define what is computed here, over the same buffers. Plain C++ with no torch header compiles
// in seconds and has no ABI to match.
#pragma once
#include "../elementary.h"

template <typename T>
struct Layer {  // native.py reads the fields here: one type a line, pointers or whole numbers
  int64_t batch, size, below, above, keep;
  int64_t flush, copy, mix, copy_boundary, reads_hidden, gated_gradient, gathers;
  T *operands, *operands_below, *operands_above;
  int64_t columns, columns_below, columns_above, offset_below, offset_above;
  T *cell, *gates, *z, *z_below, *threshold, *decided, *surrogate;
  T *bias, *boundary_weight, *slope, *choice_share, *norm_gain, *norm_offset;
  T *dpre, *dpre_boundary, *dh, *dc, *dz, *dh_below, *dz_below, *dh_above, *dinput, *scratch, *dgain, *doffset;
  int64_t input_step, input_row;
};

constexpr int64_t kParallel = 1 << 14;  // elements of a state below which a second thread costs more than it does

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
  const T* w = l.boundary_weight;
  T score = dot(l.reads_hidden ? h : operand, w, l.size);
  if (!l.reads_hidden && op.z_below != 0) score += dot(operand + l.size, w + l.size, l.below);
  if (!l.reads_hidden && op.z_prev != 0) score += dot(operand + l.size + l.below, w + l.size + l.below, l.above);
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

// z h as the operand of a layer beside; where nothing reads what is closed, only if it is open.
template <typename T>
static void gate_row(const Layer<T>& l, T z, const T* h, T* to) {
  if (l.gathers && z == 0) return;
  for (int64_t j = 0; j < l.size; ++j) to[j] = z * h[j];
}

// The boundary after the step, and h where the steps of the layers beside will read it.
template <typename T>
static void finish_row(const Layer<T>& l, int64_t t, int64_t b, const T* operand, const T* h, const Operation<T>& op) {
  if (l.z) boundary(l, t, b, operand, h, op);
  const int64_t row = t * l.batch + b, next = row + l.batch;
  // z_t^l h_t^l is what the layer above reads now, z_t^{l-1} h_t^l what the layer below reads at the next step.
  if (l.operands_above) gate_row(l, l.z[next], h, l.operands_above + row * l.columns_above + l.offset_above);
  if (l.offset_below) gate_row(l, op.z_below, h, l.operands_below + next * l.columns_below + l.offset_below);
}

// f, i, o and g of one row, from its products.
template <typename T>
static void activate(const Layer<T>& l, const T* pre, T* gates) {
  const int64_t n = l.size;
#pragma omp simd
  for (int64_t j = 0; j < 3 * n; ++j) gates[j] = sigmoid(pre[j] + l.bias[j]);
#pragma omp simd
  for (int64_t j = 3 * n; j < 4 * n; ++j) gates[j] = hyperbolic_tangent(pre[j] + l.bias[j]);
}

// tanh of the cell, as h reads it.
template <typename T>
static void tanh_of_cell(const Layer<T>& l, const T* c, T* tanh_c) {
  const int64_t n = l.size;
  if (!l.norm_gain) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) tanh_c[j] = hyperbolic_tangent(c[j]);
    return;
  }
  const Moments<T> m(c, n);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j)
    tanh_c[j] = hyperbolic_tangent((c[j] - m.mean) * m.inverse_deviation * l.norm_gain[j] + l.norm_offset[j]);
}

// ``gates`` is where they are kept, ``pre`` the products of this row; null where nothing reads the gates of a COPY.
template <typename T>
static void forward_row(const Layer<T>& l, int64_t t, int64_t b, const T* pre, T* gates) {
  const int64_t n = l.size;
  const Operation<T> op(l, t, b);
  const T* operand = l.operands + (t * l.batch + b) * l.columns;
  T* h = l.operands + ((t + 1) * l.batch + b) * l.columns;
  const T* c_prev = l.cell + (t * l.batch + b) * n;
  T* c = l.cell + ((t + 1) * l.batch + b) * n;
  if (pre) activate(l, pre, gates);
  if (op.rewritten == 0) {
    std::memcpy(h, operand, n * sizeof(T));
    std::memcpy(c, c_prev, n * sizeof(T));
    finish_row(l, t, b, operand, h, op);
    return;
  }
  const T *f = gates, *i = f + n, *o = i + n, *g = o + n;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) c[j] = op.rewritten * (i[j] * g[j]) + op.update * f[j] * c_prev[j] + op.copy * c_prev[j];
  tanh_of_cell(l, c, h);
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) h[j] = op.rewritten * o[j] * h[j] + op.copy * operand[j];
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

// The gradients of how much of each operation a row does, of z_{t-1}, and of what the boundary was decided from.
template <typename T>
struct ToOperation {
  T rewritten = 0, update = 0, copy = 0, z_prev = 0, boundary = 0;
  ToOperation(const Layer<T>& l, int64_t t, int64_t b, const Operation<T>& op) {
    if (!l.z) return;
    const int64_t row = t * l.batch + b;
    T dz = l.dz[b];
    if (l.copy_boundary == 3) {
      if (l.dz_below) l.dz_below[b] += dz * l.decided[row];
      dz *= op.z_below;
    } else if (l.copy_boundary != 0) {
      rewritten = dz * l.decided[row];
      if (l.copy_boundary == 1) copy = dz * op.z_prev, z_prev = op.copy * dz;
      dz *= op.rewritten;
    }
    boundary = l.dpre_boundary[row] = dz * l.surrogate[row];
    if (l.reads_hidden) {
      T* dh = l.dh + b * l.size;
      for (int64_t j = 0; j < l.size; ++j) dh[j] += boundary * l.boundary_weight[j];
    }
  }
};

// What reaches z_{t-1}^l and z_t^{l-1} through the choice of operation.
template <typename T>
static void choose(const Layer<T>& l, int64_t b, const Operation<T>& op, ToOperation<T> to) {
  if (l.mix) {
    to.update *= *l.choice_share;
    const T against_copy = *l.choice_share * (to.rewritten - to.copy) + to.update;
    if (l.flush) to.z_prev -= to.update;
    if (l.copy) {
      to.z_prev += (1 - op.z_below) * against_copy;
      if (l.dz_below) l.dz_below[b] += (1 - op.z_prev) * against_copy;
    }
  }
  if (l.z) l.dz[b] = to.z_prev;
}

template <typename T>
static void backward_row(const Layer<T>& l, int64_t t, int64_t b, const T* f, T* df) {
  const int64_t n = l.size, row = t * l.batch + b;
  const Operation<T> op(l, t, b);
  const T *h_prev = l.operands + row * l.columns, *c_prev = l.cell + row * n;
  const T *i = f + n, *o = i + n, *g = o + n;
  T *di = df + n, *do_ = di + n, *dg = do_ + n;
  T *dh = l.dh + b * n, *dc = l.dc + b * n;
  T *tanh_c = l.scratch + 2 * b * n, *dcell = tanh_c + n;
  ToOperation<T> to(l, t, b, op);
  through_tanh(l, b, op.rewritten, l.cell + (row + l.batch) * n, o, dh, tanh_c, dcell);
  T to_rewritten = 0, to_update = 0, to_copy = 0;
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
  to.rewritten += to_rewritten, to.update += to_update, to.copy += to_copy;
  choose(l, b, op, to);
}

// Of a COPY, which passes the gradients of h and c on as they are: what its gates, if there are any, would have been
// worth against it.
template <typename T>
static void backward_copy(const Layer<T>& l, int64_t t, int64_t b, const T* f) {
  const int64_t n = l.size, row = t * l.batch + b;
  const Operation<T> op(l, t, b);
  ToOperation<T> to(l, t, b, op);
  if (f) {
    const T *h_prev = l.operands + row * l.columns, *c = l.cell + row * n, *i = f + n, *o = i + n, *g = o + n;
    const T *dh = l.dh + b * n, *dc = l.dc + b * n;
    T* tanh_c = l.scratch + 2 * b * n;
    tanh_of_cell(l, c, tanh_c);
    T to_rewritten = 0, to_update = 0, to_copy = 0;
#pragma omp simd reduction(+ : to_rewritten, to_update, to_copy)
    for (int64_t j = 0; j < n; ++j) {
      to_rewritten += dh[j] * o[j] * tanh_c[j] + dc[j] * i[j] * g[j];
      to_update += dc[j] * c[j] * f[j];
      to_copy += dh[j] * h_prev[j] + dc[j] * c[j];
    }
    to.rewritten += to_rewritten, to.update += to_update, to.copy += to_copy;
  }
  choose(l, b, op, to);
}

// The gradients of the parts of one row's operand, from the gates, to the states that they were made of.
template <typename T>
static void scatter_row(const Layer<T>& l, int64_t t, int64_t b, const T* of_h, const T* of_below, const T* of_above) {
  const int64_t n = l.size, row = t * l.batch + b;
  const T d_boundary = l.z && !l.reads_hidden ? l.dpre_boundary[row] : T(0);
  const T* w = l.boundary_weight;
  T* dh = l.dh + b * n;
  for (int64_t j = 0; j < n; ++j) dh[j] += of_h[j] + d_boundary * w[j];
  w += n;
  if (!l.dh_below) {
    T* to = l.dinput + t * l.input_step + b * l.input_row;
    for (int64_t j = 0; j < l.below; ++j) to[j] = of_below[j] + d_boundary * w[j];
  } else {
    const T* h_below = l.operands_below + ((t + 1) * l.batch + b) * l.columns_below;
    const T z_below = l.z_below[row];
    T *to = l.dh_below + b * l.below, sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < l.below; ++j) {
      const T d_raw = d_boundary * w[j], d = of_below[j] + d_raw;
      to[j] += z_below * d;
      sum += (l.gated_gradient ? d : d_raw) * h_below[j];
    }
    l.dz_below[b] += sum;
  }
  if (!l.above) return;
  w += l.below;
  const T *h_above = l.operands_above + row * l.columns_above, z_prev = l.z[row];
  T *to = l.dh_above + b * l.above, sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < l.above; ++j) {
    const T d_raw = d_boundary * w[j], d = of_above[j] + d_raw;
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
