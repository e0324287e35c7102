// What a photograph shows, and where, in C++: an exported model with OpenVINO, without this library.
//
// Run `bagnet export --out model.xml` once, and bring the photograph to the size that `bagnet.input` in the file says, as a binary PPM.
// OV=$(python -c "import openvino, pathlib; print(pathlib.Path(openvino.__file__).parent)")      # or an OpenVINO of its own
// g++ -std=c++17 -O2 openvino_explain.cpp -o explain -I$OV/include -Wl,-rpath,$OV/libs $OV/libs/libopenvino.so.*
// ./explain model.xml photo.ppm

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

// The strings of a JSON list.
std::vector<std::string> strings(const std::string& json) {
  std::vector<std::string> found;
  for (size_t at = json.find('"'); at != std::string::npos; at = json.find('"', at + 1)) {
    std::string text;
    while (json[++at] != '"') text += json[at] == '\\' ? json[++at] : json[at];
    found.push_back(text);
  }
  return found;
}

int main(int, char** arguments) {
  ov::Core core;
  auto model = core.read_model(arguments[1]);
  auto classes = strings(model->get_rt_info<std::string>({"bagnet", "classes"}));
  auto exact = ov::hint::inference_precision(ov::element::f32);  // it would else take bf16 where the processor has it
  auto request = core.compile_model(model, "CPU", exact).create_infer_request();

  std::ifstream file(arguments[2], std::ios::binary);
  std::string magic;
  size_t width, height, most;
  file >> magic >> width >> height >> most;
  file.get();
  ov::Tensor image(ov::element::u8, {1, height, width, 3});
  if (magic != "P6" || !file.read(image.data<char>(), image.get_byte_size())) return std::fprintf(stderr, "no binary PPM\n"), 2;
  request.set_input_tensor(image);
  request.infer();

  ov::Tensor logits = request.get_tensor("logits"), evidence = request.get_tensor("evidence");
  auto shape = evidence.get_shape();  // 1, classes, rows, columns
  std::vector<size_t> order(shape[1]);
  std::iota(order.begin(), order.end(), 0);
  const float* logit = logits.data<float>();
  std::partial_sort(order.begin(), order.begin() + 5, order.end(), [&](size_t a, size_t b) { return logit[a] > logit[b]; });
  for (size_t rank = 0; rank < 5; ++rank) {
    const float* map = evidence.data<float>() + order[rank] * shape[2] * shape[3];  // its mean is the logit
    size_t best = std::max_element(map, map + shape[2] * shape[3]) - map;
    std::printf("%-30s %7.2f   strongest in row %zu, column %zu: %.2f\n", classes[order[rank]].c_str(), logit[order[rank]],
                best / shape[3], best % shape[3], map[best]);
  }
}
