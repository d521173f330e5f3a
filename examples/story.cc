// The ten steps of the story. Each one makes the calls that a program would make, then checks what
// it says about the values and about the memory of every device.
#include "story.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "narrator.h"
#include "transload/nn.h"
#include "transload/transload.h"

namespace {

using namespace transload;
namespace fs = std::filesystem;

class ToyModel : public nn::Module {
 public:
  explicit ToyModel(nn::Generator& generator) : net1_(10, 10, generator), net2_(10, 1, generator) {
    register_module("net1", net1_);
    register_module("relu", relu_);
    register_module("net2", net2_);
  }
  nn::Variable forward(const nn::Variable& x) override { return net2_(relu_(net1_(x))); }

 private:
  nn::Linear net1_, net2_;
  nn::ReLU relu_;
};

struct Batch {
  Tensor x, labels;  // (20, 10) and (20, 1), on the CPU
};

std::vector<Batch> ten_batches(nn::Generator& generator) {
  std::vector<Batch> batches(10);
  for (Batch& batch : batches) batch = {generator.randn({20, 10}), generator.randn({20, 1})};
  return batches;
}

// Trains one epoch: every batch once, moved to the model's device. Returns the mean of the losses.
double train(ToyModel& model, nn::Optimizer& optimizer, const std::vector<Batch>& batches,
             Device device) {
  const nn::MSELoss mse;
  double sum = 0;
  for (const Batch& batch : batches) {
    optimizer.zero_grad();
    const nn::Variable loss = mse(model(to(batch.x, device)), to(batch.labels, device));
    loss.backward();
    optimizer.step();
    sum += loss.item();
  }
  return sum / static_cast<double>(batches.size());
}

bool all_on(const StateDict& state, Device device) {
  return std::all_of(state.storages().begin(), state.storages().end(),
                     [&](const Storage& s) { return s.device() == device; });
}

bool same_values(const StateDict& a, const StateDict& b) {
  const auto of_a = a.tensors(), of_b = b.tensors();
  return std::equal(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(),
                    [](const NamedTensor& s, const NamedTensor& t) {
                      return s.name == t.name &&
                             element_bytes(s.value.tensor()) == element_bytes(t.value.tensor());
                    });
}

DeviceNeed need_of(const Plan& plan, Device device) {
  for (const DeviceNeed& need : plan.devices) {
    if (need.device == device) return need;
  }
  return {.device = device};
}

std::string digits(double number) {
  std::ostringstream text;
  text << std::setprecision(9) << number;
  return text.str();
}

// Returns the storages of `state` on `device` that none of `others` shares, by the names of their
// tensors.
std::vector<std::string> used_only_by(const StateDict& state, Device device,
                                      std::initializer_list<StateDict> others) {
  std::set<const void*> used;
  for (const StateDict& other : others) {
    for (const Storage& storage : other.storages()) used.insert(storage.identity());
  }
  std::vector<std::string> names;
  for (const NamedTensor& tensor : state.tensors()) {
    const Storage storage = tensor.value.tensor().storage();
    if (storage.device() == device && !used.contains(storage.identity())) {
      names.push_back(tensor.name + ", " + std::to_string(storage.nbytes()) + " bytes");
    }
  }
  return names;
}

// Steps 1 to 3. On return the model, its gradients and the optimizer are destroyed.
void train_on_gpu_and_save(Narrator& narrator, const fs::path& file) {
  narrator.step(1, "Make a model on the CPU");
  nn::Generator generator(1);
  ToyModel model(generator);
  for (const auto& [name, parameter] : model.named_parameters()) {
    narrator.say(name + "  " + parameter.value().shape().str());
  }
  narrator.promise(model.state_dict().size() == 4 && all_on(model.state_dict(), kCpu),
                   "its four parameters are on cpu");
  narrator.memory();

  narrator.step(2, "Move it to cuda:0 and train it there for 10 epochs");
  model.to(cuda(0));
  narrator.promise(all_on(model.state_dict(), cuda(0)), "the whole model is on cuda:0");
  nn::SGD optimizer(model.parameters(), {.lr = 0.001});
  const std::vector<Batch> batches = ten_batches(generator);
  std::vector<double> losses;
  for (int epoch = 1; epoch <= 10; ++epoch) {
    losses.push_back(train(model, optimizer, batches, cuda(0)));
    narrator.say("epoch " + std::to_string(epoch) + (epoch < 10 ? "   loss " : "  loss ") +
                 digits(losses.back()));
  }
  narrator.promise(std::isfinite(losses.back()) && losses.back() < losses.front(),
                   "the loss went down");
  narrator.memory();

  narrator.step(3, "Save it: save(model.state_dict(), \"toy.pt\")");
  const SaveResult saved = save(model.state_dict(), file);
  narrator.say(file.string() + ", " + std::to_string(saved.nbytes) +
               " bytes. PyTorch opens it:\n"
               "torch.load(\"" +
               file.string() + "\", map_location=\"cpu\", weights_only=True)");
  narrator.promise(saved.nbytes == fs::file_size(file),
                   "the file has the size that save() returned");
  narrator.promise(open(file).locations == std::vector<std::string>{"cuda:0"},
                   "the file records cuda:0 as the device of every storage");
  narrator.memory();
}

void show_new_model(Narrator& narrator, const ToyModel& model) {
  narrator.step(
      4,
      "The training has ended and its memory is free. Make a new model on the CPU. Its state "
      "dict:");
  const StateDict state = model.state_dict();
  for (const NamedTensor& named : state.tensors()) {
    const Tensor tensor = named.value.tensor();
    narrator.say(named.name + "  " + std::string(name(tensor.dtype())) + " " +
                 tensor.shape().str() + " on " + tensor.device().str());
    narrator.say(str(tensor));
  }
  narrator.promise(all_on(state, kCpu), "the whole model is on cpu");
  narrator.memory();
}

StateDict load_where_it_was(Narrator& narrator, const fs::path& file) {
  narrator.step(5,
                "load(\"toy.pt\") without a map_location: every storage goes to the device it was "
                "saved from");
  const Index index = open(file);
  const Plan plan = plan_load(index, {}, memory_for(index, {}));
  const DeviceNeed need = need_of(plan, cuda(0));
  const std::uint64_t before = memory_use(cuda(0)).allocated;

  StateDict state = load(file);

  narrator.promise(all_on(state, cuda(0)), "each tensor is on cuda:0");
  narrator.planned_and_measured(cuda(0), need.storage_nbytes, need.allocated,
                                memory_use(cuda(0)).allocated - before);
  narrator.memory();
  return state;
}

// Takes ownership of the state dict, so that step 6 can destroy it.
void copy_into_cpu_model(Narrator& narrator, ToyModel& model, StateDict state) {
  narrator.step(6,
                "model.load_state_dict(state): copies the values into the model's own parameters");
  const nn::Variable weight = model.parameters().front();
  const void* const identity = weight.value().storage().identity();

  model.load_state_dict(state);

  narrator.promise(
      all_on(model.state_dict(), kCpu) && weight.value().storage().identity() == identity,
      "the model's parameters are still on cpu, in the same storages");
  narrator.promise(same_values(model.state_dict(), state),
                   "they have the values of the copy on cuda:0");
  const std::vector<std::string> unused = used_only_by(state, cuda(0), {model.state_dict()});
  narrator.say(
      "There are now two copies. Only the loaded state dict uses these storages on cuda:0:");
  for (const std::string& storage : unused) narrator.say("  " + storage);
  narrator.promise(unused.size() == state.size(),
                   "the model uses no storage that was loaded to cuda:0");
  narrator.memory();

  narrator.say("\nDestroy the state dict:");
  const MemoryUse held = memory_use(cuda(0));
  state = StateDict();
  const MemoryUse dropped = memory_use(cuda(0));
  narrator.promise(dropped.allocated < held.allocated && dropped.allocated == 0,
                   "allocated falls to 0");
  narrator.promise(dropped.reserved == held.reserved && held.reserved > 0,
                   "reserved does not fall: the pool of this process keeps the memory for reuse");
  narrator.memory();

  narrator.say("\nempty_cache(cuda(0)):");
  empty_cache(cuda(0));
  const MemoryUse emptied = memory_use(cuda(0));
  narrator.promise(emptied.reserved == 0, "reserved falls to 0");
  narrator.promise(emptied.free > dropped.free,
                   "so does the memory that the driver, and nvidia-smi, counts as used");
  narrator.memory();
}

void load_to_cpu(Narrator& narrator, const ToyModel& model, const fs::path& file) {
  narrator.step(7, "load(\"toy.pt\", {.map_location = \"cpu\"}): loads straight to the CPU");
  const Index index = open(file);
  const Plan plan = plan_load(index, {.map_location = "cpu"}, memory_for(index, "cpu"));
  const DeviceNeed need = need_of(plan, kCpu);
  const std::uint64_t before = memory_use(kCpu).allocated;

  const StateDict state = load(file, {.map_location = "cpu"});

  narrator.planned_and_measured(kCpu, need.storage_nbytes, need.allocated,
                                memory_use(kCpu).allocated - before);
  narrator.promise(all_on(state, kCpu) && same_values(state, model.state_dict()),
                   "each tensor is on cpu, with the same values");
  // The pool keeps freed memory until empty_cache(), so a temporary allocation would still show
  // here.
  narrator.promise(memory_use(cuda(0)).reserved == 0,
                   "no byte was allocated on cuda:0, not even temporarily");
  narrator.memory();
}

void fill_model(Narrator& narrator, const fs::path& file) {
  narrator.step(8, "load_into(model, \"toy.pt\"): reads from the file into the parameters");
  nn::Generator generator(8);
  ToyModel model(generator);
  const DeviceNeed need = need_of(plan_load_into(model.state_dict(), open(file), {}), kCpu);
  // Raises the current use to its peak, so that any temporary allocation shows as a new peak.
  const MemoryUse now = memory_use(kCpu);
  Storage up_to_the_peak = allocate(kCpu, now.allocated_peak - now.allocated);
  const MemoryUse before = memory_use(kCpu);

  load_into(model, file);

  const MemoryUse after = memory_use(kCpu);
  up_to_the_peak = Storage();
  narrator.say("planned: " + std::to_string(need.filled_nbytes) + " bytes into existing memory, " +
               std::to_string(need.allocated) + " bytes to allocate");
  narrator.promise(need.filled_nbytes == 484 && need.allocated == 0,
                   "the plan fills the parameters and allocates nothing");
  narrator.promise(same_values(model.state_dict(), load(file, {.map_location = "cpu"})),
                   "the model has the file's values");
  narrator.promise(after.allocated == before.allocated &&
                       after.allocated_peak == before.allocated &&
                       memory_use(cuda(0)).reserved == 0,
                   "no device held a second copy, not even temporarily");
  narrator.memory();
}

void mix_devices(Narrator& narrator, ToyModel& model) {
  narrator.step(9,
                "x on cuda:0, the model on the CPU: the error names the tensors and their devices");
  nn::Generator generator(9);
  const Tensor x = to(generator.randn({20, 10}), cuda(0));
  std::string message = "no error";
  try {
    model(x);
  } catch (const Error& error) {
    message = error.what();
  }
  narrator.say(message);
  const auto names = [&](const char* text) { return message.find(text) != std::string::npos; };
  narrator.promise(names("cuda:0") && names("cpu") && names("input (float32 [20, 10])") &&
                       names("\"net1.weight\" (float32 [10, 10])"),
                   "the error names both devices and both tensors");
  narrator.memory();
}

void move_the_other_way(Narrator& narrator, const ToyModel& model, const fs::path& folder) {
  narrator.step(10, "The other direction, between GPUs, and resuming from a checkpoint");
  narrator.say("Save on the CPU, then load(\"toy_cpu.pt\", {.map_location = \"cuda:0\"}):");
  const fs::path file = folder / "toy_cpu.pt";
  save(model.state_dict(), file);
  const StateDict state = load(file, {.map_location = "cuda:0"});
  narrator.promise(all_on(state, cuda(0)) && same_values(state, model.state_dict()),
                   "each tensor is on cuda:0, with the same values");
  narrator.memory();
}

void move_between_gpus(Narrator& narrator, const fs::path& folder) {
  const std::vector<Device> all = devices();
  if (std::find(all.begin(), all.end(), cuda(1)) == all.end()) {
    narrator.say("\ncuda:1 is not present: the move between GPUs is skipped.");
    return;
  }
  narrator.say(
      "\nSave on cuda:1, then load(\"toy_cuda1.pt\", {.map_location = \"cuda:1=cuda:0\"}):");
  nn::Generator generator(10);
  ToyModel model(generator);
  model.to(cuda(1));
  const fs::path file = folder / "toy_cuda1.pt";
  save(model.state_dict(), file);
  const std::uint64_t before = memory_use(cuda(1)).allocated;
  const StateDict state = load(file, {.map_location = "cuda:1=cuda:0"});
  narrator.promise(open(file).locations == std::vector<std::string>{"cuda:1"},
                   "the file records cuda:1 as the device of every storage");
  narrator.promise(all_on(state, cuda(0)) && same_values(state, model.state_dict()),
                   "each tensor is on cuda:0, with the same values");
  narrator.promise(memory_use(cuda(1)).allocated == before, "no memory was allocated on cuda:1");
  narrator.memory();
}

void resume_elsewhere(Narrator& narrator, const fs::path& folder) {
  narrator.say(
      "\nSave a checkpoint after 3 epochs with Adam on cuda:0. Train 3 more epochs there, and 3 on "
      "the "
      "CPU from the checkpoint.");
  const fs::path file = folder / "checkpoint.pt";
  nn::Generator generator(11);
  ToyModel model(generator);
  model.to(cuda(0));
  nn::Adam optimizer(model.parameters(), {.lr = 0.01});
  const std::vector<Batch> batches = ten_batches(generator);
  double loss = 0;
  for (int epoch = 1; epoch <= 3; ++epoch) loss = train(model, optimizer, batches, cuda(0));

  const StateDict model_state = model.state_dict(), optimizer_state = optimizer.state_dict();
  StateDict checkpoint = StateDict::dict();
  checkpoint.set("epoch", std::int64_t{3});
  checkpoint.set("model_state_dict", std::cref(model_state));
  checkpoint.set("optimizer_state_dict", std::cref(optimizer_state));
  checkpoint.set("loss", loss);
  save(checkpoint, file);

  ToyModel resumed(generator);
  nn::Adam resumed_optimizer(resumed.parameters());
  const StateDict loaded = load(file, {.map_location = "cpu"});
  resumed.load_state_dict(loaded, {.select = {.at = "model_state_dict"}});
  resumed_optimizer.load_state_dict(loaded["optimizer_state_dict"]);
  narrator.promise(loaded["epoch"].integer() == 3 && loaded["loss"].real() == loss,
                   "the checkpoint has the epoch, 3, and the loss, " + digits(loss));

  bool are_same = true;
  for (std::int64_t epoch = loaded["epoch"].integer() + 1; epoch <= 6; ++epoch) {
    const double on_gpu = train(model, optimizer, batches, cuda(0));
    const double on_cpu = train(resumed, resumed_optimizer, batches, kCpu);
    are_same = are_same && std::abs(on_gpu - on_cpu) <= 1e-6 * std::abs(on_gpu);
    narrator.say("epoch " + std::to_string(epoch) + "  loss on cuda:0 " + digits(on_gpu) +
                 "  on cpu " + digits(on_cpu));
  }
  narrator.promise(are_same, "both trainings have the same losses");
  narrator.memory();
}

}  // namespace

int tell_story(std::ostream& out, const fs::path& folder) {
  const std::vector<Device> all = devices();
  const auto is_here = [&](Device device) {
    return std::find(all.begin(), all.end(), device) != all.end();
  };
  if (!is_here(cuda(0)))
    throw PlacementError(
        "cuda:0 is not present: use a machine with a GPU, or the emulated driver with "
        "use_cuda_driver()");
  const std::string gpu = memory_use(cuda(0)).name;
  const bool is_emulated = gpu.find("emulated") != std::string::npos;
  if (is_emulated)
    out << "This machine has no GPU: cuda:0 is emulated by a driver over host memory.\n";
  if (!is_emulated) out << "cuda:0 is " << gpu << ".\n";
  out << "The program trains a model there, saves it and loads it on the CPU. Memory is in "
         "bytes.\n";

  std::vector<Device> shown{kCpu, cuda(0)};
  if (is_here(cuda(1))) shown.push_back(cuda(1));
  Narrator narrator(out, shown);

  const fs::path file = folder / "toy.pt";
  train_on_gpu_and_save(narrator, file);
  empty_cache(cuda(0));
  nn::Generator generator(2);
  ToyModel model(generator);
  show_new_model(narrator, model);
  copy_into_cpu_model(narrator, model, load_where_it_was(narrator, file));
  load_to_cpu(narrator, model, file);
  fill_model(narrator, file);
  mix_devices(narrator, model);
  move_the_other_way(narrator, model, folder);
  move_between_gpus(narrator, folder);
  resume_elsewhere(narrator, folder);
  return narrator.end();
}
