// What gRPC in C++ sees of a server: `client PORT`; prints a line for each thing that went as it should.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

#include "peer.grpc.pb.h"

using google::protobuf::BytesValue;

namespace {

void Check(bool ok, const std::string& what) {
  if (ok) return;
  std::cerr << what << "\n";
  std::exit(1);
}

BytesValue Of(const std::string& value) {
  BytesValue message;
  message.set_value(value);
  return message;
}

}  // namespace

int main(int, char** argv) {
  auto channel = grpc::CreateChannel(std::string("127.0.0.1:") + argv[1], grpc::InsecureChannelCredentials());
  auto stub = t::S::NewStub(channel);
  BytesValue answer;
  for (int i = 0; i < 100; ++i) {
    grpc::ClientContext context;
    grpc::Status status = stub->Echo(&context, Of("hello"), &answer);
    Check(status.ok() && answer.value() == "hello", status.error_message());
  }
  std::cout << "unary\n";
  const std::string large(3000000, 'x');
  for (auto algorithm : {GRPC_COMPRESS_NONE, GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    grpc::Status status = stub->Slow(&context, Of(large), &answer);
    Check(status.ok() && answer.value() == large, status.error_message());
  }
  std::cout << "large\n";
  {
    grpc::ClientContext context;
    grpc::Status status = stub->Fail(&context, Of("Grüße"), &answer);
    Check(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT && status.error_message() == "Grüße",
          status.error_message());
    Check(!status.error_details().empty(), "no details");
  }
  std::cout << "error\n";
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
    grpc::Status status = stub->Wait(&context, Of("x"), &answer);
    Check(status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED, status.error_message());
  }
  std::cout << "deadline\n";
  {
    grpc::ClientContext context;
    std::thread canceller([&context] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      context.TryCancel();
    });
    grpc::Status status = stub->Wait(&context, Of("x"), &answer);
    canceller.join();
    Check(status.error_code() == grpc::StatusCode::CANCELLED, status.error_message());
  }
  std::cout << "cancel\n";
  {
    grpc::ClientContext context;
    auto reader = stub->Count(&context, Of(std::string(10, 'L')));
    int count = 0;
    while (reader->Read(&answer)) ++count;
    Check(reader->Finish().ok() && count == 10, "not all of the answers came");
  }
  {
    grpc::ClientContext context;
    auto chat = stub->Chat(&context);
    for (const char* text : {"a", "b", "c"}) {
      Check(chat->Write(Of(text)) && chat->Read(&answer) && answer.value() == text, "another message came back");
    }
    chat->WritesDone();
    Check(!chat->Read(&answer) && chat->Finish().ok(), "the stream did not end well");
  }
  std::cout << "streams\n";
}
