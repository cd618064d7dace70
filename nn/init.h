// Initial values of parameters.
//
// fan_in of a weight [O, I, ...] is I times the remaining sizes, fan_out is O times them. All throw ValueError for
// numbers that are not finite, a negative deviation, gain or fan, and bounds in the wrong order or too far apart.
// Values beyond the parameters' dtype are refused where a parameter is made of them (nn/scope.h).
#pragma once

#include "nn/scope.h"

namespace mininn::nn::init {

enum class Fan { in, out };

Init constant(double value);
Init uniform(double low, double high);
Init normal(double mean, double stddev);

// N(0, gain^2 / fan). He et al. 2015, "Delving Deep into Rectifiers"; gain sqrt(2) is for ReLU. With Fan::out this is
// torchvision's choice for ResNet convolutions.
Init kaiming_normal(Fan fan = Fan::in, double gain = 1.4142135623730951);
// U(-b, b) with b = gain * sqrt(3 / fan): the same variance.
Init kaiming_uniform(Fan fan = Fan::in, double gain = 1.4142135623730951);
// N(0, 2 gain^2 / (fan_in + fan_out)) and U with the same variance. Glorot and Bengio 2010.
Init xavier_normal(double gain = 1);
Init xavier_uniform(double gain = 1);
// PyTorch's default for the weights and the bias of convolutions and linear layers: U(-b, b) with b = 1 / sqrt(fan_in),
// where fan_in is that of the weight (kaiming_uniform with gain 1/sqrt(3)).
Init torch_default(int64_t fan_in);

int64_t fan_in(const Shape& weight);   // throws ShapeError if the rank is below 2 or a product overflows
int64_t fan_out(const Shape& weight);  // the same

}  // namespace mininn::nn::init
