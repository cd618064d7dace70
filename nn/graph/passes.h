// Rewrites of a graph. Each takes a graph and returns one that computes the same function (up to rounding), and
// throws ValueError for a graph that breaks a rule (Graph::validate).
#pragma once

#include "nn/graph/graph.h"

namespace mininn::nn::graph {

// Drops nodes and values that no output needs.
Graph eliminate_dead_code(Graph g);

// Drops what only moves elements in memory or does nothing: contiguous, a reshape or flatten to the same shape.
Graph remove_identity(Graph g);

// Folds an evaluating batch_norm into the conv2d or linear before it, in f64:
//   k[o] = gamma[o] / sqrt(var[o] + eps);  w'[o,:] = k[o] w[o,:];  b'[o] = beta[o] + k[o] (b[o] - mean[o])
// where that producer has constant weights and no other consumer.
Graph fold_batch_norm(Graph g);

// Makes a 1x1 convolution with a filter for each channel of what batch norms of images are left with constant
// parameters: they have no convolution before them that takes them in. For those who have fast or exact convolutions
// (quantization); to be followed by fuse_conv.
Graph convolve_batch_norm(Graph g);

// Turns every conv2d, with the bias, add and relu that follow it, into one "conv2d_fused" (ops/conv2d.h): inputs x, w,
// bias, residual; the attributes of conv2d and "relu". Where two convolutions meet in an add, the deeper one takes it
// over: in a residual block the main branch, whose result then is never rounded before the sum (quantization).
Graph fuse_conv(Graph g);

// All of the above, in the order that makes the fastest graph: what inference and the quantizer want.
Graph optimize(Graph g);

}  // namespace mininn::nn::graph
