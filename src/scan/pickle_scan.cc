// The walk over the opcodes of a pickle: it executes those that import, call and set states, and has PickleValues execute the
// others. PickleCalls and PickleDtypes judge the calls and the states, and PickleUses collects the verdicts.
// Facts: CPython, Lib/pickle.py, _Unpickler; torch/_tensor.py; torch/serialization.py, _legacy_load, for module ids.
#include "scan/pickle_scan.h"

#include <algorithm>

#include "pickle/globals.h"
#include "pickle/opcodes.h"
#include "scan/joblib_arrays.h"
#include "scan/pickle_calls.h"
#include "scan/pickle_dtypes.h"
#include "scan/pickle_uses.h"
#include "scan/pickle_values.h"

namespace transload {
namespace {

using How = PickleUse::How;

constexpr std::size_t kMaxTextNbytes = 64 << 20;
constexpr int kMostPicklesInPickles = 4;  // arrays of objects in arrays of objects, of joblib

// A persistent id may be any bytes.
std::string quoted_id(std::string_view id) {
  std::string text(id.substr(0, 100));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return "\"" + text + "\"";
}

// As whom the walk reads the pickle.
enum class Reader : std::uint8_t {
  pickle,
  joblib  // skips the elements behind each NumpyArrayWrapper
};

class PickleWalk {
 public:
  PickleWalk(std::span<const std::byte> bytes, const std::string& member, Reader reader,
             int depth = 0)
      : bytes_(bytes),
        member_(member),
        reader_(reader),
        depth_(depth),
        decoder_(bytes),
        texts_(kMaxTextNbytes + bytes.size()),
        uses_(texts_, member),
        dtypes_(texts_, uses_),
        calls_(texts_, uses_, dtypes_),
        values_(texts_, stack_, uses_, bytes.size()) {}

  PickleScan run() {
    PickleScan found;
    try {
      while (decoder_.next() && now().opcode != Opcode::STOP) {
        uses_.set_offset(now().offset);
        execute();
        last_ = now().opcode;
      }
      found.broken = decoder_.error();
      if (found.broken.empty() && stack_.is_empty())
        found.broken = "the pickle ends without a value";
      uses_.give_away(stack_.top());
    } catch (const Broken& error) {
      found.broken = "opcode " + std::string(name(now().opcode)) + " " + error.why;
      found.gave_up = error.is_limit;
    }
    if (!found.broken.empty())
      found.broken = "offset " + std::to_string(now().offset) + ": " + found.broken;
    found.uses = uses_.take();
    found.nbytes = decoder_.end_offset();
    found.has_arrays = has_arrays_;
    return found;
  }

 private:
  using Kind = Known::Kind;

  const Instruction& now() const { return decoder_.now(); }

  void execute() {
    switch (now().opcode) {
      case Opcode::PROTO:
        if (now().number > kMaxPickleProtocol)
          throw Broken{"names protocol " + std::to_string(now().number)};
        return;
      case Opcode::STOP:
      case Opcode::READONLY_BUFFER:
        return;
      case Opcode::FRAME:
        frame_end_ = decoder_.end_offset() + std::min<std::uint64_t>(now().number, bytes_.size());
        return;

      case Opcode::GLOBAL:
        return stack_.push(global(now().text, now().second_line));
      case Opcode::STACK_GLOBAL:
        return stack_global();
      case Opcode::EXT1:
      case Opcode::EXT2:
      case Opcode::EXT4:
        uses_.add(How::extension, "extension " + std::to_string(now().integer()),
                  Verdict::runs_code);
        return stack_.push({});
      case Opcode::INST:
        return inst();
      case Opcode::OBJ:
        return obj();
      case Opcode::REDUCE: {
        const Known arguments = stack_.pop();
        return call(How::call, stack_.pop(), arguments);
      }
      case Opcode::NEWOBJ_EX:
        uses_.give_away(stack_.pop());
        [[fallthrough]];
      case Opcode::NEWOBJ: {
        const Known arguments = stack_.pop();
        return call(How::make, stack_.pop(), arguments);
      }
      case Opcode::BUILD:
        return build(stack_.pop());
      case Opcode::PERSID:
        uses_.add(How::persistent_id, quoted_id(now().text), Verdict::needs_classes);
        return stack_.push({});
      case Opcode::BINPERSID:
        return persistent(stack_.pop());
      default:
        return values_.execute(now());
    }
  }

  Known global(std::string_view module, std::string_view name) {
    const Known value = texts_.global(module, name);
    uses_.add_mention(value);
    return value;
  }

  void stack_global() {
    const Known name = stack_.pop(), module = stack_.pop();
    if (name.kind == Kind::text && module.kind == Kind::text)
      return stack_.push(global(texts_[module], texts_[name]));
    uses_.add(How::mention, "a name that is made while loading", Verdict::runs_code);
    stack_.push({});
  }

  void inst() {
    const Known callable = global(now().text, now().second_line);
    values_.push_tuple(stack_.take_mark());
    call(How::call, callable, stack_.pop());
  }

  // The callable is the first value above the mark.
  void obj() {
    const auto values = stack_.take_mark();
    const Known callable = values.empty() ? Known{} : values[0];
    for (const Known& value : values) {
      if (value.kind == Kind::tuple) uses_.give_away(value);
    }
    const Known arguments = values.empty() ? Known{} : texts_.tuple(values.subspan(1));
    stack_.drop(values.size());
    call(How::call, callable, arguments);
  }

  void call(How how, const Known& callable, const Known& arguments) {
    stack_.push(calls_.call(how, callable, arguments));
  }

  void build(const Known& state) {
    const Known target = stack_.top();
    uses_.add_set_state(target);
    uses_.give_away(state);
    if (target.kind != Kind::result) return;
    if (is_dtype(target)) return dtypes_.judge_state(target, state);
    const AboutGlobal& about = texts_.about(target);
    if (about.constructor == Constructor::partial)
      calls_.judge_partial(shown(texts_[target]), texts_.items(state));
    if (about.is_wrapper) skip_array(state);
  }

  // joblib reads the elements from the file, behind the frame that its unpickler has read.
  void skip_array(const Known& state) {
    has_arrays_ = true;
    if (reader_ == Reader::pickle) return;
    stack_.replace_top({});
    const bool is_direct =
        state.kind == Kind::array_state && (last_ == Opcode::SETITEMS || last_ == Opcode::SETITEM);
    if (!is_direct || decoder_.end_offset() < frame_end_)
      throw Broken{"has an array of joblib whose place cannot be told", true};
    const ArrayState& array = texts_.state(state);
    if (array.is_of_objects) return scan_inner_pickle();
    const std::uint64_t nbytes = array_nbytes(array, bytes_.subspan(decoder_.end_offset()));
    if (!decoder_.skip(nbytes)) throw Broken{"is followed by an array that is cut short"};
  }

  void scan_inner_pickle() {
    if (depth_ >= kMostPicklesInPickles)
      throw Broken{"has arrays of objects nested too deep", true};
    const std::size_t begin = decoder_.end_offset();
    const PickleScan inner =
        PickleWalk(bytes_.subspan(begin), member_, Reader::pickle, depth_ + 1).run();
    for (const PickleUse& use : inner.uses) {
      uses_.set_offset(begin + use.offset);
      uses_.add(use.how, use.name, use.verdict);
    }
    if (!inner.broken.empty()) throw Broken{"has an array of objects: " + inner.broken, true};
    decoder_.skip(inner.nbytes);
  }

  void persistent(const Known& id) {
    uses_.give_away(id);
    const auto items = texts_.items(id);
    // PyTorch's old stream: ("module", class, file, source) gives the class.
    if (items.size() > 1 && items[0].kind == Kind::text && texts_[items[0]] == "module")
      return stack_.push(items[1]);
    if (id.kind != Kind::storage_id)
      uses_.add(How::persistent_id, "an id that is not a storage", Verdict::needs_classes);
    stack_.push({Kind::looked_up});
  }

  const std::span<const std::byte> bytes_;
  const std::string& member_;
  const Reader reader_;
  const int depth_;
  OpcodeDecoder decoder_;
  KnownStack stack_;
  Texts texts_;
  PickleUses uses_;
  PickleDtypes dtypes_;
  PickleCalls calls_;
  PickleValues values_;
  Opcode last_ = Opcode::STOP;
  std::uint64_t frame_end_ = 0;
  bool has_arrays_ = false;
};

}  // namespace

PickleScan scan_pickle(std::span<const std::byte> bytes, const std::string& member) {
  PickleScan as_pickle = PickleWalk(bytes, member, Reader::pickle).run();
  if (!as_pickle.has_arrays) return as_pickle;
  // joblib skips the elements of arrays, Python's unpickler takes them for opcodes: what either would run counts.
  PickleScan as_joblib = PickleWalk(bytes, member, Reader::joblib).run();
  for (PickleUse& use : as_pickle.uses) {
    const auto is_it = [&](const PickleUse& other) {
      return other.how == use.how && other.name == use.name;
    };
    if (use.verdict == Verdict::runs_code && std::ranges::none_of(as_joblib.uses, is_it))
      as_joblib.uses.push_back(std::move(use));
  }
  return as_joblib;
}

}  // namespace transload
