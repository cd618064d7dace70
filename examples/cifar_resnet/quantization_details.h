// What quantization_details.json says of two networks.
#pragma once

#include "data/dataset.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/quantization_log.h"
#include "nn/graph/graph.h"
#include "quant/int8_net.h"

namespace cifar_resnet {

// `graph` is the float network that was quantized, `report` that of the int8 one.
QuantizationDetails quantization_details(const Evaluation& fp32, const Evaluation& int8,
                                         const mininn::nn::graph::Graph& graph, const mininn::quant::Int8Net& net,
                                         const mininn::quant::Report& report, const mininn::data::Dataset& test);

}  // namespace cifar_resnet
