// The arithmetic of nn/, one source for all devices. The build compiles it three times: as C++ for
// the cpu device, as C++ for the emulated driver, and to PTX with clang, which needs no CUDA
// toolkit.
//
// One thread computes one output element; surplus threads do nothing. Sums of products are
// accumulated in double and rounded once. Contraction is off (-ffp-contract=off), so every device
// gives the same bits.
#ifdef __CUDA__

#define TRANSLOAD_KERNEL extern "C" __attribute__((global)) void

namespace {

using int64 = long long;

__attribute__((device)) int64 thread_index() {
  return static_cast<int64>(__nvvm_read_ptx_sreg_ctaid_x()) * __nvvm_read_ptx_sreg_ntid_x() +
         __nvvm_read_ptx_sreg_tid_x();
}

__attribute__((device)) float square_root(float x) { return __nvvm_sqrt_rn_f(x); }

}  // namespace

#else

#include <cmath>
#include <utility>

#include "nn/kernel_table.h"

#define TRANSLOAD_KERNEL extern "C" void

namespace {

using int64 = std::int64_t;

// The index of the GPU thread that the calling CPU thread stands in for. Set by AsEntry::run().
thread_local int64 running_thread = 0;

int64 thread_index() { return running_thread; }

float square_root(float x) { return std::sqrt(x); }

}  // namespace

#endif

// y (numel) = value
TRANSLOAD_KERNEL transload_fill(float* y, float value, int64 numel) {
  const int64 i = thread_index();
  if (i < numel) y[i] = value;
}

// y (numel) += x (numel)
TRANSLOAD_KERNEL transload_add(float* y, const float* x, int64 numel) {
  const int64 i = thread_index();
  if (i < numel) y[i] += x[i];
}

// x (N, in), weight (out, in), bias (out) -> y (N, out)
TRANSLOAD_KERNEL transload_linear_forward(const float* x, const float* weight, const float* bias,
                                          float* y, int64 rows, int64 in, int64 out) {
  const int64 i = thread_index();
  if (i >= rows * out) return;
  const int64 row = i / out, column = i % out;
  double sum = bias[column];
  for (int64 k = 0; k < in; ++k)
    sum += static_cast<double>(x[row * in + k]) * weight[column * in + k];
  y[i] = static_cast<float>(sum);
}

// dy (N, out), weight (out, in) -> dx (N, in)
TRANSLOAD_KERNEL transload_linear_backward_input(const float* dy, const float* weight, float* dx,
                                                 int64 rows, int64 in, int64 out) {
  const int64 i = thread_index();
  if (i >= rows * in) return;
  const int64 row = i / in, column = i % in;
  double sum = 0;
  for (int64 k = 0; k < out; ++k)
    sum += static_cast<double>(dy[row * out + k]) * weight[k * in + column];
  dx[i] = static_cast<float>(sum);
}

// dy (N, out), x (N, in) -> dweight (out, in)
TRANSLOAD_KERNEL transload_linear_backward_weight(const float* dy, const float* x, float* dweight,
                                                  int64 rows, int64 in, int64 out) {
  const int64 i = thread_index();
  if (i >= out * in) return;
  const int64 row = i / in, column = i % in;
  double sum = 0;
  for (int64 n = 0; n < rows; ++n)
    sum += static_cast<double>(dy[n * out + row]) * x[n * in + column];
  dweight[i] = static_cast<float>(sum);
}

// dy (N, out) -> dbias (out)
TRANSLOAD_KERNEL transload_linear_backward_bias(const float* dy, float* dbias, int64 rows,
                                                int64 out) {
  const int64 i = thread_index();
  if (i >= out) return;
  double sum = 0;
  for (int64 n = 0; n < rows; ++n) sum += dy[n * out + i];
  dbias[i] = static_cast<float>(sum);
}

// x (numel) -> y (numel) = max(x, 0). NaN stays NaN.
TRANSLOAD_KERNEL transload_relu_forward(const float* x, float* y, int64 numel) {
  const int64 i = thread_index();
  if (i < numel) y[i] = x[i] <= 0 ? 0.0f : x[i];
}

// dy (numel), y (numel) of the forward pass -> dx (numel) = dy where y > 0, else 0
TRANSLOAD_KERNEL transload_relu_backward(const float* dy, const float* y, float* dx, int64 numel) {
  const int64 i = thread_index();
  if (i < numel) dx[i] = y[i] <= 0 ? 0.0f : dy[i];
}

// x (numel), target (numel) -> loss () = mean of (x - target)^2. A single thread, so that the order
// of the sum is always the same.
TRANSLOAD_KERNEL transload_mse_forward(const float* x, const float* target, float* loss,
                                       int64 numel) {
  if (thread_index() != 0) return;
  double sum = 0;
  for (int64 i = 0; i < numel; ++i) {
    const double difference = x[i] - target[i];
    sum += difference * difference;
  }
  loss[0] = static_cast<float>(sum / static_cast<double>(numel));
}

// dloss (), x (numel), target (numel) -> dx (numel)
TRANSLOAD_KERNEL transload_mse_backward(const float* dloss, const float* x, const float* target,
                                        float* dx, int64 numel) {
  const int64 i = thread_index();
  if (i >= numel) return;
  const float twice_mean = static_cast<float>(2.0 / static_cast<double>(numel));
  dx[i] = twice_mean * (x[i] - target[i]) * dloss[0];
}

// parameter (numel) -= lr * gradient (numel)
TRANSLOAD_KERNEL transload_sgd_step(float* parameter, const float* gradient, float lr,
                                    int64 numel) {
  const int64 i = thread_index();
  if (i < numel)
    parameter[i] = static_cast<float>(parameter[i] - static_cast<double>(lr) * gradient[i]);
}

// buffer (numel) = momentum * buffer + gradient (numel)
TRANSLOAD_KERNEL transload_momentum_step(float* buffer, const float* gradient, float momentum,
                                         int64 numel) {
  const int64 i = thread_index();
  if (i < numel) buffer[i] = momentum * buffer[i] + gradient[i];
}

// Adam, in the order and rounding of pytorch torch/optim/adam.py, _single_tensor_adam:
//   exp_avg = beta1 * exp_avg + (1 - beta1) * gradient, as lerp_ computes it
//   exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * gradient^2
//   parameter -= step_size * exp_avg / (sqrt(exp_avg_sq) / root_correction2 + eps)
// step_size is lr / (1 - beta1^step), root_correction2 is sqrt(1 - beta2^step). All tensors are
// (numel).
TRANSLOAD_KERNEL transload_adam_step(float* parameter, const float* gradient, float* exp_avg,
                                     float* exp_avg_sq, float one_less_beta1, float beta2,
                                     float one_less_beta2, float step_size, float root_correction2,
                                     float eps, int64 numel) {
  const int64 i = thread_index();
  if (i >= numel) return;
  const float g = gradient[i];
  const float average = exp_avg[i] + one_less_beta1 * (g - exp_avg[i]);
  const float square = exp_avg_sq[i] * beta2 + one_less_beta2 * g * g;
  exp_avg[i] = average;
  exp_avg_sq[i] = square;
  parameter[i] -= step_size * average / (square_root(square) / root_correction2 + eps);
}

#ifndef __CUDA__

namespace transload {
namespace {

// Makes a KernelEntry of a kernel function: the sizes of its arguments, and a call with pointers to
// them.
template <auto kernel>
struct AsEntry;

template <class... Arguments, void (*kernel)(Arguments...)>
struct AsEntry<kernel> {
  static constexpr std::uint32_t kNbytes[] = {sizeof(Arguments)...};

  static void run(std::int64_t thread, void** arguments) {
    running_thread = thread;
    call(arguments, std::index_sequence_for<Arguments...>());
  }

  template <std::size_t... i>
  static void call(void** arguments, std::index_sequence<i...>) {
    kernel(*static_cast<Arguments*>(arguments[i])...);
  }

  static constexpr KernelEntry named(const char* name) {
    return {name, run, kNbytes, sizeof...(Arguments)};
  }
};

#define TRANSLOAD_ENTRY(kernel) AsEntry<kernel>::named(#kernel)

constexpr KernelEntry kKernels[] = {
    TRANSLOAD_ENTRY(transload_fill),
    TRANSLOAD_ENTRY(transload_add),
    TRANSLOAD_ENTRY(transload_linear_forward),
    TRANSLOAD_ENTRY(transload_linear_backward_input),
    TRANSLOAD_ENTRY(transload_linear_backward_weight),
    TRANSLOAD_ENTRY(transload_linear_backward_bias),
    TRANSLOAD_ENTRY(transload_relu_forward),
    TRANSLOAD_ENTRY(transload_relu_backward),
    TRANSLOAD_ENTRY(transload_mse_forward),
    TRANSLOAD_ENTRY(transload_mse_backward),
    TRANSLOAD_ENTRY(transload_sgd_step),
    TRANSLOAD_ENTRY(transload_momentum_step),
    TRANSLOAD_ENTRY(transload_adam_step),
};

}  // namespace

std::span<const KernelEntry> kernel_table() { return kKernels; }

}  // namespace transload

#endif
