// From an int8 network back to one that can be trained.
#pragma once

#include "examples/cifar_resnet/network.h"
#include "quant/int8_model.h"

namespace cifar_resnet {

// Gives `net` the values that an int8 network of the same architecture and width stands for: weights are what their
// codes mean, and a batch norm has what `images`, u8 [N,3,32,32], show it, scaled so that its output stays what the
// int8 layer's is. A convolution before one has weights as large as random ones would be (He et al. 2015), for the same
// steps of a training to change it as much: the norm divides by their size. Throws ValueError, before anything has
// changed, if a layer is missing or of another size.
void unfold(const mininn::quant::Int8Model& model, Fp32Network& net, const mininn::Tensor& images);

// Takes the values of a file of the same network, fp32 or int8; the first images of `shown` are what norms get to see.
// Throws FileError.
void begin_with(Fp32Network& net, const Path& file, const mininn::data::Dataset& shown);

}  // namespace cifar_resnet
