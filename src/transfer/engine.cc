#include "transfer/engine.h"

#include <exception>

#include "transfer/mover.h"
#include "transfer/queue.h"
#include "transfer/run_state.h"
#include "transfer/staging.h"
#include "transfer/workers.h"

namespace transload {

void run(const Plan& plan, const Endpoints& endpoints, const IoOptions& io, Outcome& outcome) {
  RunState state(plan, endpoints, io, outcome);
  if (plan.transfers.empty()) return state.take_sums();
  Staging staging(state);
  TransferQueue queue(state);
  const auto work = [&](int thread) {
    Mover mover(state, staging, thread);
    while (!state.stop) {
      const Group group = queue.next();
      if (group.begin == group.end) return;
      queue.prefetch(group);
      mover.carry_out(group);
      for (std::uint32_t t = group.begin; t < group.end; ++t)
        state.done_nbytes += state.transfer(t).nbytes;
    }
  };
  std::exception_ptr error;
  try {
    run_workers(staging.threads(), io.progress, plan.transfer_nbytes, state.done_nbytes, state.stop,
                work);
  } catch (...) {
    error = std::current_exception();
  }
  try {
    staging.settle_all();
  } catch (...) {
    if (!error) error = std::current_exception();
  }
  if (error) std::rethrow_exception(error);
  state.take_sums();
}

}  // namespace transload
