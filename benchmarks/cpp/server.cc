// The reference network behind an asynchronous gRPC server in C++: what ModelInfer costs without Python.
//
// server ADDRESS WEIGHTS: one thread, one completion queue. WEIGHTS is a file of 33 numbers: kernel (2 × 4), recurrent
// kernel (4 × 4) and bias (4) of a SimpleRNN, kernel (4) and bias of a Dense layer.

#include <grpcpp/grpcpp.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "inference.grpc.pb.h"

namespace {

constexpr int kFeatures = 2, kUnits = 4, kCalls = 1024;

struct Network {
  float kernel[kFeatures][kUnits], recurrent[kUnits][kUnits], bias[kUnits], dense[kUnits], dense_bias;

  // The output for one sequence of timesteps × features.
  float Forward(const float* x, int timesteps) const {
    float state[kUnits] = {}, next[kUnits];
    for (int t = 0; t < timesteps; ++t) {
      for (int u = 0; u < kUnits; ++u) {
        float sum = bias[u];
        for (int f = 0; f < kFeatures; ++f) sum += x[t * kFeatures + f] * kernel[f][u];
        for (int h = 0; h < kUnits; ++h) sum += state[h] * recurrent[h][u];
        next[u] = std::tanh(sum);
      }
      std::memcpy(state, next, sizeof state);
    }
    float sum = dense_bias;
    for (int u = 0; u < kUnits; ++u) sum += state[u] * dense[u];
    return sum;
  }
};

// One call after another: asked for, answered, and begun anew.
class Call {
 public:
  Call(inference::GRPCInferenceService::AsyncService* service, grpc::ServerCompletionQueue* queue,
       const Network& network)
      : service_(service), queue_(queue), network_(network) {
    Begin();
  }

  void Proceed() {
    if (answered_) {
      Begin();
      return;
    }
    answered_ = true;
    inference::ModelInferResponse response;
    grpc::Status status = Infer(&response);
    writer_->Finish(response, status, this);
  }

 private:
  void Begin() {
    answered_ = false;
    request_.Clear();
    context_ = std::make_unique<grpc::ServerContext>();
    writer_ = std::make_unique<grpc::ServerAsyncResponseWriter<inference::ModelInferResponse>>(context_.get());
    service_->RequestModelInfer(context_.get(), &request_, writer_.get(), queue_, queue_, this);
  }

  grpc::Status Infer(inference::ModelInferResponse* response) const {
    if (request_.inputs_size() != 1 || request_.raw_input_contents_size() != 1 || request_.inputs(0).datatype() != "FP32")
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "expected one input of FP32 as bytes");
    const auto& input = request_.inputs(0);
    const std::string& raw = request_.raw_input_contents(0);
    if (input.shape_size() != 3 || input.shape(2) != kFeatures || input.shape(0) < 1 || input.shape(1) < 1 ||
        raw.size() != input.shape(0) * input.shape(1) * kFeatures * sizeof(float))
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "expected shape [batch, timesteps, 2]");
    const int timesteps = static_cast<int>(input.shape(1));
    std::vector<float> numbers(raw.size() / sizeof(float)), outputs(input.shape(0));
    std::memcpy(numbers.data(), raw.data(), raw.size());
    for (float number : numbers)
      if (!std::isfinite(number)) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "not finite");
    for (size_t i = 0; i < outputs.size(); ++i)
      outputs[i] = network_.Forward(&numbers[i * timesteps * kFeatures], timesteps);
    response->set_model_name(request_.model_name());
    response->set_model_version("1");
    auto* output = response->add_outputs();
    output->set_name("output");
    output->set_datatype("FP32");
    output->add_shape(input.shape(0));
    output->add_shape(1);
    response->add_raw_output_contents(outputs.data(), outputs.size() * sizeof(float));
    return grpc::Status::OK;
  }

  inference::GRPCInferenceService::AsyncService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  const Network& network_;
  std::unique_ptr<grpc::ServerContext> context_;
  std::unique_ptr<grpc::ServerAsyncResponseWriter<inference::ModelInferResponse>> writer_;
  inference::ModelInferRequest request_;
  bool answered_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  Network network;
  std::ifstream weights(argc == 3 ? argv[2] : "");
  float* numbers = reinterpret_cast<float*>(&network);
  for (size_t i = 0; i < sizeof network / sizeof(float); ++i) {
    if (!(weights >> numbers[i])) {
      std::cerr << "usage: server ADDRESS WEIGHTS, a file of " << sizeof network / sizeof(float) << " numbers\n";
      return 2;
    }
  }
  inference::GRPCInferenceService::AsyncService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  auto queue = builder.AddCompletionQueue();
  auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < kCalls; ++i) calls.push_back(std::make_unique<Call>(&service, queue.get(), network));
  void* tag;
  bool ok;
  while (queue->Next(&tag, &ok))
    if (ok) static_cast<Call*>(tag)->Proceed();
}
