// The neural network library: agreement with PyTorch, state dicts, and moves between devices. Runs
// on the cpu and on an emulated GPU.
#include "transload/nn.h"

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "emulated.h"
#include "golden.h"
#include "nn/kernel_table.h"

namespace transload::nn {

extern const char* const kKernelsPtx;

namespace {

class ToyModel : public Module {
 public:
  explicit ToyModel(Generator& generator) : net1_(10, 10, generator), net2_(10, 1, generator) {
    register_module("net1", net1_);
    register_module("relu", relu_);
    register_module("net2", net2_);
  }
  Variable forward(const Variable& x) override { return net2_(relu_(net1_(x))); }

 private:
  Linear net1_, net2_;
  ReLU relu_;
};

std::vector<float> values(const Tensor& tensor) {
  const auto bytes = element_bytes(tensor);
  std::vector<float> out(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<std::vector<float>> values(const StateDict& state) {
  std::vector<std::vector<float>> all;
  for (const NamedTensor& tensor : state.tensors()) all.push_back(values(tensor.value.tensor()));
  return all;
}

std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Finds a tensor by the name that tensors() gives it, in which keys may be numbers.
Tensor named(const StateDict& state, const std::string& name) {
  for (const NamedTensor& tensor : state.tensors()) {
    if (tensor.name == name) return tensor.value.tensor();
  }
  throw Error("no tensor \"" + name + "\"");
}

// The initial weights of a training run in PyTorch, and its losses.
struct Trace {
  StateDict tensors =
      load(golden::kData / "torch-2.13/toy_training_trace.zip.pt", {.map_location = kCpu});
  rapidjson::Document losses, ten_epochs;

  Trace() {
    losses.Parse(golden::file_text(golden::kData / "torch-2.13/toy_training_trace.json").c_str());
    ten_epochs.Parse(
        golden::file_text(golden::kData / "torch-2.13/toy_training_ten_epochs.json").c_str());
  }
  Tensor inputs(int batch) const {
    const Tensor all = tensors.tensor("inputs");
    return {all.storage(), Dtype::float32, {20, 10}, {10, 1}, all.storage_offset() + batch * 200};
  }
  Tensor labels(int batch) const {
    const Tensor all = tensors.tensor("labels");
    return {all.storage(), Dtype::float32, {20, 1}, {1, 1}, all.storage_offset() + batch * 20};
  }
};

const Trace& trace() {
  static const Trace once;
  return once;
}

// Returns a model with the trace's initial weights.
struct Trained {
  Generator generator{1};
  ToyModel model{generator};

  explicit Trained(Device device) {
    model.load_state_dict(trace().tensors, {.select = {.at = "initial"}});
    model.to(device);
  }
  // Runs the steps from `first` to `last` - 1. Returns the loss before each.
  std::vector<float> train(Optimizer& optimizer, int first, int last) {
    std::vector<float> losses;
    const Device device = model.parameters().front().value().device();
    for (int step = first; step < last; ++step) {
      optimizer.zero_grad();
      const Variable prediction = model(to(trace().inputs(step % 10), device));
      const Variable loss = MSELoss()(prediction, to(trace().labels(step % 10), device));
      loss.backward();
      optimizer.step();
      losses.push_back(loss.item());
    }
    return losses;
  }
};

void expect_near(const std::vector<float>& found, const rapidjson::Value& expected,
                 double tolerance) {
  ASSERT_EQ(found.size(), expected.Size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double e = expected[static_cast<rapidjson::SizeType>(i)].GetDouble();
    EXPECT_NEAR(found[i], e, tolerance * std::abs(e)) << "number " << i;
  }
}

// The largest difference, relative to the largest value of each tensor.
void expect_near(const StateDict& found, const StateDict& expected, const std::string& at,
                 double tolerance) {
  for (const NamedTensor& tensor : found.tensors()) {
    const auto f = values(tensor.value.tensor()), e = values(named(expected, at + tensor.name));
    ASSERT_EQ(f.size(), e.size());
    const double scale = std::accumulate(e.begin(), e.end(), 0.0, [](double m, float x) {
      return std::max(m, double{std::abs(x)});
    });
    for (std::size_t i = 0; i < f.size(); ++i)
      EXPECT_NEAR(f[i], e[i], tolerance * scale) << tensor.name << " " << i;
  }
}

class Nn : public testing::TestWithParam<Device> {
 protected:
  Nn() {
    if (GetParam().kind == DeviceKind::cuda) have_a_gpu();
  }
  Device device() const { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(On, Nn, testing::Values(kCpu, cuda(0)), [](const auto& with) {
  return with.param == kCpu ? std::string("cpu") : std::string("cuda");
});

TEST_P(Nn, LossesOfTenEpochsAgreeWithPyTorch) {
  Trained toy(device());
  SGD optimizer(toy.model.parameters(), {.lr = 0.001});
  expect_near(toy.train(optimizer, 0, 100), trace().ten_epochs["loss_before_each_step"], 1e-6);
  for (const auto& [name, parameter] : toy.model.named_parameters()) {
    const rapidjson::Value& final = trace().ten_epochs["final"][name.c_str()];
    const auto found = values(parameter.value());
    ASSERT_EQ(found.size(), final.Size());
    for (rapidjson::SizeType i = 0; i < final.Size(); ++i)
      EXPECT_NEAR(found[i], final[i].GetDouble(), 1e-6) << name;
  }
}

TEST_P(Nn, SgdAgreesWithPyTorch) {
  Trained toy(device());
  SGD optimizer(toy.model.parameters(), {.lr = 0.001});
  expect_near(toy.train(optimizer, 0, 50), trace().losses["sgd"]["loss_before_each_step"], 1e-6);
  expect_near(toy.model.state_dict(), trace().tensors, "sgd/final/", 1e-6);
  EXPECT_EQ(str(optimizer.state_dict().root()), str(trace().tensors["sgd"].at("optimizer")));
}

TEST_P(Nn, SgdWithMomentumAgreesWithPyTorchFor200Steps) {
  Trained toy(device());
  SGD optimizer(toy.model.parameters(), {.lr = 0.01, .momentum = 0.9});
  expect_near(toy.train(optimizer, 0, 200), trace().losses["sgd_momentum"]["loss_before_each_step"],
              1e-5);
  expect_near(toy.model.state_dict(), trace().tensors, "sgd_momentum/final/", 1e-5);
  expect_near(optimizer.state_dict(), trace().tensors, "sgd_momentum/optimizer/", 1e-4);
}

TEST_P(Nn, AdamAgreesWithPyTorchFor200Steps) {
  Trained toy(device());
  Adam optimizer(toy.model.parameters(), {.lr = 0.001});
  expect_near(toy.train(optimizer, 0, 200), trace().losses["adam"]["loss_before_each_step"], 1e-5);
  expect_near(toy.model.state_dict(), trace().tensors, "adam/final/", 1e-5);
  expect_near(optimizer.state_dict(), trace().tensors, "adam/optimizer/", 1e-4);
}

TEST_P(Nn, GradientsAgreeWithFiniteDifferences) {
  Trained toy(device());
  Generator generator(5);
  Tensor input = to(generator.randn({4, 10}), device());
  input.requires_grad = true;
  const Variable x(input), target(to(generator.randn({4, 1}), device()));
  const auto loss = [&] { return MSELoss()(toy.model(x), target); };
  loss().backward();
  auto variables = toy.model.parameters();
  variables.push_back(x);
  for (const Variable& variable : variables) {
    const auto before = values(variable.value()), gradient = values(*variable.grad());
    for (std::size_t i = 0; i < before.size(); i += 3) {
      const auto with = [&](float change) {
        auto changed = before;
        changed[i] += change;
        copy(variable.value(), from_values(changed, variable.value().shape()));
        return loss().item();
      };
      constexpr float kStep = 0.004f;
      EXPECT_NEAR((with(kStep) - with(-kStep)) / (2 * kStep), gradient[i], 2e-3)
          << variable.name() << " " << i;
    }
    copy(variable.value(), from_values(before, variable.value().shape()));
  }
}

TEST_P(Nn, GradientsOfAllUsesAddUp) {
  Trained toy(device());
  Generator generator(5);
  const Variable a(to(generator.randn({4, 10}), device())),
      b(to(generator.randn({4, 10}), device()));
  const Variable zero(to(zeros({4, 1}, Dtype::float32), device()));
  Variable bias = toy.model.parameters().back();

  MSELoss()(toy.model(a), zero).backward();
  const float of_a = values(*bias.grad())[0];
  MSELoss()(toy.model(b), zero).backward();
  const float of_both = values(*bias.grad())[0];
  EXPECT_NE(of_a, of_both);
  toy.model.zero_grad();
  EXPECT_FALSE(bias.grad());
  MSELoss()(toy.model(b), zero).backward();
  EXPECT_FLOAT_EQ(values(*bias.grad())[0] + of_a, of_both);

  // The bias changes prediction and target equally, so its two gradients cancel within one tape.
  toy.model.zero_grad();
  MSELoss()(toy.model(a), toy.model(b)).backward();
  EXPECT_NEAR(values(*bias.grad())[0], 0, 1e-6);
}

TEST_P(Nn, StateDictHasTorchsKeysAndMetadata) {
  const Trained toy(device());
  const StateDict state = toy.model.state_dict();
  const Value torchs = trace().tensors["initial"];
  ASSERT_EQ(state.size(), torchs.size());
  for (std::size_t i = 0; i < state.size(); ++i) {
    EXPECT_EQ(state.root().entry(i).first.text(), torchs.entry(i).first.text());
    const Tensor tensor = state.root().entry(i).second.tensor();
    EXPECT_EQ(tensor.device(), device());
    EXPECT_FALSE(tensor.requires_grad || tensor.is_parameter);
  }
  EXPECT_EQ(str(*state.root().attributes()), str(*torchs.attributes()));
  for (const NamedTensor& tensor : state.tensors()) {
    EXPECT_EQ(values(tensor.value.tensor()), values(torchs.at(tensor.name).tensor()))
        << tensor.name;
  }
}

TEST_P(Nn, FillingTheStateDictFillsTheModel) {
  const Trained toy(device());
  copy(toy.model.state_dict().tensor("net2.bias"), from_values(std::vector<float>{7}, {1}));
  EXPECT_EQ(values(toy.model.parameters().back().value()), std::vector<float>{7});
}

TEST_P(Nn, AStateDictIsLoadedFromAnyDevice) {
  have_a_gpu();
  Generator generator(3);
  ToyModel source(generator);
  for (const Device from : devices()) {
    if (from == kMeta) continue;
    source.to(from);
    Trained toy(device());
    const Variable kept = toy.model.parameters().front();
    toy.model.load_state_dict(source.state_dict());
    EXPECT_EQ(values(toy.model.state_dict()), values(source.state_dict()));
    EXPECT_EQ(kept.value().device(), device());
    EXPECT_EQ(kept.value().storage().identity(),
              toy.model.state_dict().tensor("net1.weight").storage().identity());
  }
}

TEST_P(Nn, AFileIsLoadedIntoTheModel) {
  Generator generator(3);
  ToyModel model(generator);
  model.to(device());
  const FillResult result = load_into(model, golden::kData / "torch-2.13/toy_training_trace.zip.pt",
                                      {.select = {.at = "adam/final"}});
  EXPECT_TRUE(result.missing.empty());
  expect_near(model.state_dict(), trace().tensors, "adam/final/", 0);
}

TEST_P(Nn, TheOptimizersStateIsLaidOutAsPyTorchs) {
  Trained with_sgd(device()), with_momentum(device()), with_adam(device());
  SGD sgd(with_sgd.model.parameters());
  SGD momentum(with_momentum.model.parameters(), {.lr = 0.01, .momentum = 0.9});
  Adam adam(with_adam.model.parameters());
  with_sgd.train(sgd, 0, 1);
  with_momentum.train(momentum, 0, 1);
  with_adam.train(adam, 0, 1);
  const std::pair<const char*, StateDict> all[] = {{"sgd", sgd.state_dict()},
                                                   {"sgd_momentum", momentum.state_dict()},
                                                   {"adam", adam.state_dict()}};
  for (const auto& [name, state] : all) {
    std::string found = str(state.root());
    const std::string where = " on " + device().str();
    for (std::size_t at; device() != kCpu && (at = found.find(where)) != std::string::npos;)
      found.replace(at, where.size(), " on cpu");
    EXPECT_EQ(found, str(trace().tensors[name].at("optimizer")));
  }
}

TEST_P(Nn, StepIsANumberOnTheCpuAndTheRestOnTheParametersDevice) {
  Trained toy(device());
  Adam optimizer(toy.model.parameters());
  toy.train(optimizer, 0, 3);
  const StateDict saved = optimizer.state_dict();
  Trained other(device());
  Adam loaded(other.model.parameters());
  loaded.load_state_dict(saved);
  for (const StateDict& state : {saved, loaded.state_dict()}) {
    const Tensor step = named(state, "state/2/step");
    EXPECT_EQ(step.device(), kCpu);
    EXPECT_EQ(step.shape(), Dims{});
    EXPECT_EQ(values(step), std::vector<float>{3});
    EXPECT_EQ(named(state, "state/2/exp_avg").device(), device());
  }
  EXPECT_NE(named(saved, "state/2/exp_avg").storage().identity(),
            named(loaded.state_dict(), "state/2/exp_avg").storage().identity());
}

TEST_P(Nn, AnOptimizerHoldsItsParametersWhenTheModelMoves) {
  Trained toy(kCpu);
  SGD optimizer(toy.model.parameters());
  const auto before = values(toy.model.state_dict());
  toy.model.to(device());
  toy.train(optimizer, 0, 1);
  EXPECT_NE(values(toy.model.state_dict()), before);
  for (const auto& [name, parameter] : toy.model.named_parameters()) {
    EXPECT_EQ(parameter.value().device(), device()) << name;
    EXPECT_EQ(parameter.grad()->device(), device()) << name;
    EXPECT_TRUE(parameter.requires_grad() && parameter.value().is_parameter) << name;
  }
}

TEST_P(Nn, GradientsMoveWithTheirParameters) {
  have_a_gpu();
  Trained toy(device());
  SGD optimizer(toy.model.parameters());
  toy.train(optimizer, 0, 1);
  const auto gradient = values(*toy.model.parameters().front().grad());
  toy.model.to(device() == kCpu ? cuda(1) : kCpu);
  EXPECT_EQ(values(*toy.model.parameters().front().grad()), gradient);
}

TEST_P(Nn, SequentialNumbersItsModules) {
  Generator generator(1);
  Sequential model;
  model.add(std::make_unique<Linear>(10, 4, generator))
      .add(std::make_unique<ReLU>())
      .add(std::make_unique<Linear>(4, 2, generator));
  model.to(device());
  std::vector<std::string> names;
  for (const auto& [name, parameter] : model.named_parameters()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"}));
  const Variable y = model(to(generator.randn({3, 5, 10}), device()));
  EXPECT_EQ(y.value().shape(), (Dims{3, 5, 2}));
}

// Trains `first` steps, saves a checkpoint, resumes from it on another device.
template <class OptimizerType, class Options>
void expect_same_losses_after_resuming(Device from, Device on, const Options& options,
                                       const golden::fs::path& file) {
  Trained toy(from);
  OptimizerType optimizer(toy.model.parameters(), options);
  const float loss = toy.train(optimizer, 0, 25).back();
  StateDict checkpoint = StateDict::dict();
  const StateDict model_state = toy.model.state_dict(), optimizer_state = optimizer.state_dict();
  checkpoint.set("epoch", std::int64_t{25});
  checkpoint.set("model_state_dict", std::cref(model_state));
  checkpoint.set("optimizer_state_dict", std::cref(optimizer_state));
  checkpoint.set("loss", double{loss});
  save(checkpoint, file);
  const auto expected = toy.train(optimizer, 25, 60);

  Trained resumed(on);
  OptimizerType other(resumed.model.parameters());
  {
    const StateDict loaded = load(file, {.map_location = on});
    resumed.model.load_state_dict(loaded, {.select = {.at = "model_state_dict"}});
    other.load_state_dict(loaded["optimizer_state_dict"]);
    EXPECT_EQ(loaded["epoch"].integer(), 25);
    EXPECT_EQ(loaded["loss"].real(), loss);
  }
  EXPECT_EQ(resumed.train(other, 25, 60), expected) << from.str() << " to " << on.str();
  EXPECT_EQ(values(resumed.model.state_dict()), values(toy.model.state_dict()));
}

class Checkpoint : public golden::TemporaryFolder {
 protected:
  Checkpoint() { have_a_gpu(); }
};

TEST_F(Checkpoint, ResumedOnAnotherDeviceGivesTheSameLossesToTheLastBit) {
  const std::pair<Device, Device> moves[] = {{cuda(0), kCpu}, {kCpu, cuda(0)}, {cuda(1), cuda(0)}};
  for (const auto& [from, on] : moves) {
    expect_same_losses_after_resuming<SGD>(from, on, SGDOptions{.lr = 0.01, .momentum = 0.9},
                                           path("sgd.pt"));
    expect_same_losses_after_resuming<Adam>(from, on, AdamOptions{.lr = 0.003, .beta1 = 0.8},
                                            path("adam.pt"));
  }
}

TEST(OptimizerState, ThatThisOptimizerCannotFollowIsRefused) {
  Trained toy(kCpu);
  SGD sgd(toy.model.parameters(), {.lr = 0.5});
  Adam adam(toy.model.parameters());
  const std::string before = str(sgd.state_dict().root());
  const auto saved = [](const char* name) {
    return load(golden::kData / "torch-2.13" / name, {.map_location = kCpu});
  };
  const auto loading = [](Optimizer& optimizer, const Value& state) {
    return message([&] { optimizer.load_state_dict(state); });
  };

  const StateDict nesterov = saved("checkpoint_sgd_momentum.zip.pt"),
                  amsgrad = saved("checkpoint_adam.zip.pt");
  EXPECT_EQ(loading(sgd, nesterov["optimizer_state_dict"]),
            "SGD: the saved state has nesterov = True, which this optimizer does not support");
  EXPECT_EQ(loading(adam, amsgrad["optimizer_state_dict"]),
            "Adam: the saved state has amsgrad = True, which this optimizer does not support");
  EXPECT_NE(loading(adam, trace().tensors["sgd_momentum"].at("optimizer")).find("\"betas\""),
            std::string::npos);
  EXPECT_NE(loading(sgd, trace().tensors["sgd_momentum"]).find("\"param_groups\""),
            std::string::npos);

  SGD fewer({toy.model.parameters().front()});
  EXPECT_EQ(loading(fewer, trace().tensors["sgd"].at("optimizer")),
            "SGD: the saved state has 4 parameters, but this optimizer has 1");
  auto backwards = toy.model.parameters();
  std::reverse(backwards.begin(), backwards.end());
  SGD other_order(backwards);
  EXPECT_NE(loading(other_order, trace().tensors["sgd_momentum"].at("optimizer"))
                .find("for \"momentum_buffer\" of \"net2.bias\", parameter 0"),
            std::string::npos);
  EXPECT_EQ(str(sgd.state_dict().root()), before);
}

TEST(OptimizerState, OfPlainSgdIsReadFromPyTorchsFile) {
  Trained toy(kCpu);
  SGD sgd(toy.model.parameters(), {.lr = 0.5});
  const StateDict saved =
      load(golden::kData / "torch-2.13/checkpoint_sgd_plain.zip.pt", {.map_location = kCpu});
  for (const char* key : {"optimizer", "after_a_step"}) sgd.load_state_dict(saved[key]);
  EXPECT_EQ(str(sgd.state_dict().root()), str(saved["after_a_step"]));
}

TEST(Placement, TwoDevicesInOneOperationAreAnErrorThatNamesBoth) {
  have_a_gpu();
  Trained toy(kCpu);
  Generator generator(1);
  const Variable x(to(generator.randn({20, 10}), cuda(0)));
  EXPECT_EQ(message([&] { toy.model(x); }),
            "Linear \"net1\": input (float32 [20, 10]) is on cuda:0 but \"net1.weight\" (float32 "
            "[10, 10]) is on cpu; "
            "move one with model.to(device) or to(tensor, device)\n"
            "  Expected all tensors to be on the same device, but found at least two devices, cpu "
            "and cuda:0!");
  EXPECT_EQ(message([&] {
              MSELoss()(x, generator.randn({20, 10}));
            }).find("MSELoss: prediction (float32 [20, 10]) is on cuda:0 but target"),
            0u);

  SGD optimizer(toy.model.parameters(), {.momentum = 0.9});
  toy.train(optimizer, 0, 1);
  toy.model.to(cuda(0));
  EXPECT_EQ(message([&] { toy.train(optimizer, 1, 2); })
                .find("SGD: \"net1.weight\" (float32 [10, 10]) is on cuda:0 but its "
                      "momentum_buffer (float32 [10, 10]) is on cpu"),
            0u);
}

TEST(Placement, NothingIsComputedOnMeta) {
  Trained toy(kMeta);
  EXPECT_NE(message([&] {
              toy.model(empty({20, 10}, Dtype::float32, kMeta));
            }).find("meta"),
            std::string::npos);
}

TEST(Operands, ThatDoNotFitAreAnError) {
  Trained toy(kCpu);
  Generator generator(1);
  EXPECT_EQ(message([&] {
              toy.model(generator.randn({20, 9}));
            }),
            "Linear \"net1\": input is float32 [20, 9], but its last size must be 10 "
            "because \"net1.weight\" is [10, 10]");
  EXPECT_EQ(message([&] {
              MSELoss()(generator.randn({2}), generator.randn({2, 1}));
            }),
            "MSELoss: the prediction is float32 [2] but the target is float32 [2, 1]; the shapes "
            "must be equal");
  EXPECT_NE(message([&] {
              toy.model(empty({20, 10}, Dtype::float64));
            }).find("input (float64 [20, 10])"),
            std::string::npos);
  const Tensor transposed(generator.randn({10, 20}).storage(), Dtype::float32, {20, 10}, {1, 20});
  EXPECT_NE(message([&] { toy.model(transposed); }).find("row-major"), std::string::npos);
  EXPECT_NE(message([&] {
              toy.model(generator.randn({20, 10})).backward();
            }).find("is not a single number"),
            std::string::npos);
  EXPECT_NE(message([&] {
              MSELoss()(generator.randn({2}), generator.randn({2})).backward();
            }).find("requires a gradient"),
            std::string::npos);
  EXPECT_THROW(Linear(0, 1, generator), Error);
}

TEST(Modules, NameTheirPartsOnce) {
  struct Twice : Module {
    Twice() {
      register_parameter("weight", zeros({1}, Dtype::float32));
      register_parameter("weight", zeros({1}, Dtype::float32));
    }
    Variable forward(const Variable& x) override { return x; }
  };
  EXPECT_EQ(message([] { Twice(); }), "the module already has a \"weight\"");
}

TEST(Modules, SaveTheirBuffersAfterTheirParameters) {
  struct Scaled : Module {
    Scaled() {
      register_buffer("scale", zeros({2}, Dtype::float32));
      register_parameter("weight", zeros({3}, Dtype::float32));
    }
    Variable forward(const Variable& x) override { return x; }
  } module;
  EXPECT_EQ(str(module.state_dict().root()).find("OrderedDict"), 0u);
  EXPECT_EQ(module.state_dict().root().entry(0).first.text(), "weight");
  EXPECT_EQ(module.state_dict().root().entry(1).first.text(), "scale");
  EXPECT_EQ(module.parameters().size(), 1u);
  module.eval();
  EXPECT_FALSE(module.is_training());
}

TEST(Generators, GiveTheSameNumbersEverywhere) {
  Generator generator(213);
  // The C++ standard fixes the numbers of std::mt19937_64.
  EXPECT_EQ(generator.uniform(), 0x1.3a368921cf198p-4);
  EXPECT_NEAR(generator.normal(), 1.3405128881761859, 1e-15);
  const auto numbers = values(generator.randn({10000}));
  const double mean = std::accumulate(numbers.begin(), numbers.end(), 0.0) / 10000;
  const double square =
      std::inner_product(numbers.begin(), numbers.end(), numbers.begin(), 0.0) / 10000;
  EXPECT_NEAR(mean, 0, 0.03);
  EXPECT_NEAR(square, 1, 0.03);
}

TEST(Generators, StartLinearLayersAsTorchDoes) {
  Generator generator(213);
  const Linear layer(25, 400, generator);
  for (const Variable& parameter : layer.parameters()) {
    const auto numbers = values(parameter.value());
    const auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
    EXPECT_NEAR(*low, -0.2, 0.002);
    EXPECT_NEAR(*high, 0.2, 0.002);
  }
}

TEST(Kernels, AreAllInThePtx) {
  const std::string ptx = kKernelsPtx;
  for (const KernelEntry& entry : kernel_table()) {
    EXPECT_NE(ptx.find(".visible .entry " + std::string(entry.name) + "("), std::string::npos)
        << entry.name;
  }
}

}  // namespace
}  // namespace transload::nn
