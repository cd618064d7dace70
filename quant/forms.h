// The network under construction while a float graph is lowered, and the forms in which it has the float graph's
// values: as codes, as real numbers where int8 networks have such, and as the float graph has them. A form that is
// missing is made of another one by a node of its own. Private to quant/.
#pragma once

#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "quant/grid/observer.h"
#include "quant/int8_model.h"

namespace mininn::quant {

class Forms {
 public:
  // Starts with the input of `g`; both must outlive it. `image`: the input is bytes, which this makes numbers of.
  Forms(const nn::graph::Graph& g, const std::vector<Range>& ranges, const std::optional<ImageNormalization>& image);

  // Values of the new graph that stand for value `id` of the float graph. They throw KernelError, with the reason
  // alone, where there is no such form.
  int codes(int id);        // u8 [N,C,H,W]; vectors are maps of one pixel
  int layer_input(int id);  // the same, or the bytes of an image, which layers normalise themselves
  int operand(int id);      // codes, or f32 [N,C,H,W]: what ops/qreal.h takes
  int real(int id);         // f32 (or what else it is) in the float graph's own shape; constants too
  bool is_image(int id) const { return image_ && root_[size_t(id)] == g_.inputs[0]; }
  // Whether an op of an int8 network has made the value, or nobody has: the input.
  bool is_ours(int id) const { return of(id).ours; }

  // A node that makes value `source` of the float graph in a form. Returns its result. Of ops on codes they throw
  // KernelError, with the reason, where the op does not take such operands.
  int add_codes(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, std::string label);
  int add_map(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, std::string label);
  int add_vector(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, std::string label);
  int add_float(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, std::string why);
  // One whose result is no value of the float graph (kAbsent), or stands for it without being one of its forms.
  int add(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, LayerNote note);
  int add_constant(std::string name, const Tensor& t);
  // Value `to` is the numbers of value `from` in the same order, in another shape: its maps and codes are the same.
  void rename(int from, int to) { root_[size_t(to)] = root_[size_t(from)]; }
  // Of its codes or maps [N,C,H,W].
  const Shape& map_shape(int id) { return shape(is_image(id) ? bytes_ : operand(id)); }

  const Shape& shape(int value) const { return model_.graph.values[size_t(value)].shape; }
  const QParams& grid(int value) const { return *model_.graph.values[size_t(value)].qparams; }
  QParams wanted_grid(int id);
  const std::vector<bool>& ranges_used() const { return ranges_used_; }
  // `name`, with a number behind it where a node is called so.
  std::string unused_name(const std::string& name) const;

  // The graph ends with value `id` of the float graph. Moves out what was made.
  Int8Model finish(int id);
  std::vector<int>& source() { return source_; }

 private:
  struct Form {
    int codes = nn::graph::kAbsent, map = nn::graph::kAbsent;
    bool ours = false;
  };

  Form& of(int id) { return forms_[size_t(root_[size_t(id)])]; }
  const Form& of(int id) const { return forms_[size_t(root_[size_t(id)])]; }
  int map(int id);  // f32 [N,C,H,W]
  int numbers_of_image();
  // A node that makes another form of value `source`.
  int between(int source, const OpDef& op, int x, Attrs attrs = {});
  int append(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, LayerNote note);

  const nn::graph::Graph& g_;
  const std::vector<Range>& ranges_;
  const std::optional<ImageNormalization>& image_;
  std::unordered_set<std::string> names_;  // of nodes, those of the float graph included
  std::vector<int> root_;                  // of each value of the float graph the one that it is another shape of
  std::vector<Form> forms_;                // of roots
  std::vector<int> real_;                  // of each value of the float graph; kAbsent: not made yet
  std::vector<int> range_of_;              // the value that has the range of each: reshapes have none of their own
  std::vector<bool> ranges_used_;          // of each value of the float graph
  int bytes_ = nn::graph::kAbsent;         // of an image, packed
  Int8Model model_;
  std::vector<int> source_;  // of each value of the new graph: that of the float graph
};

}  // namespace mininn::quant
