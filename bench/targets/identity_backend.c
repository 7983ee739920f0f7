/* A backend for the real Triton that copies each input to the output of the same position, in native code.
 *
 * The wheel that carries tritonserver has no native backend, and pyserver's native identity deserves an opponent that pays for no
 * Python. Written against the C ABI as a fact of the interface (names, argument order, enum values); no header of Triton's is needed.
 * One request, one response: INPUT0 -> OUTPUT0, first input only. Statistics are reported, as every real backend does.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef struct Error Error;
typedef struct Instance Instance;
typedef struct Request Request;
typedef struct Response Response;
typedef struct Input Input;
typedef struct Output Output;

enum { kErrorInternal = 1, kMemoryCpu = 0, kReleaseAll = 1, kResponseFinal = 1 };

Error* TRITONSERVER_ErrorNew(int code, const char* message);
void TRITONSERVER_ErrorDelete(Error* error);
Error* TRITONBACKEND_RequestInputByIndex(Request* request, uint32_t index, Input** input);
Error* TRITONBACKEND_InputProperties(Input* input, const char** name, uint32_t* datatype,
                                     const int64_t** shape, uint32_t* rank, uint64_t* byte_size,
                                     uint32_t* buffer_count);
Error* TRITONBACKEND_InputBuffer(Input* input, uint32_t index, const void** buffer,
                                 uint64_t* byte_size, int* memory_type, int64_t* memory_id);
Error* TRITONBACKEND_ResponseNew(Response** response, Request* request);
Error* TRITONBACKEND_ResponseOutput(Response* response, Output** output, const char* name,
                                    uint32_t datatype, const int64_t* shape, uint32_t rank);
Error* TRITONBACKEND_OutputBuffer(Output* output, void** buffer, uint64_t byte_size,
                                  int* memory_type, int64_t* memory_id);
Error* TRITONBACKEND_ResponseSend(Response* response, uint32_t flags, Error* error);
Error* TRITONBACKEND_RequestRelease(Request* request, uint32_t flags);
Error* TRITONBACKEND_ModelInstanceReportStatistics(Instance* instance, Request* request,
                                                   bool success, uint64_t exec_start_ns,
                                                   uint64_t compute_start_ns,
                                                   uint64_t compute_end_ns, uint64_t exec_end_ns);
Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(Instance* instance, uint64_t batch_size,
                                                        uint64_t exec_start_ns,
                                                        uint64_t compute_start_ns,
                                                        uint64_t compute_end_ns,
                                                        uint64_t exec_end_ns);

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void drop(Error* error) {
  if (error != NULL) TRITONSERVER_ErrorDelete(error);
}

static Error* copy_first_input(Request* request, Response* response, uint64_t* rows) {
  Input* input;
  const char* name;
  uint32_t datatype, rank, buffer_count;
  const int64_t* shape;
  uint64_t byte_size;
  Error* error = TRITONBACKEND_RequestInputByIndex(request, 0, &input);
  if (error != NULL) return error;
  error = TRITONBACKEND_InputProperties(input, &name, &datatype, &shape, &rank, &byte_size,
                                        &buffer_count);
  if (error != NULL) return error;
  *rows = rank > 0 && shape[0] > 0 ? (uint64_t)shape[0] : 1;

  Output* output;
  error = TRITONBACKEND_ResponseOutput(response, &output, "OUTPUT0", datatype, shape, rank);
  if (error != NULL) return error;
  void* target = NULL;
  int memory_type = kMemoryCpu;
  int64_t memory_id = 0;
  error = TRITONBACKEND_OutputBuffer(output, &target, byte_size, &memory_type, &memory_id);
  if (error != NULL) return error;
  if (memory_type > 1) return TRITONSERVER_ErrorNew(kErrorInternal, "output is not in host memory");

  uint64_t done = 0;
  for (uint32_t i = 0; i < buffer_count; ++i) {
    const void* source;
    uint64_t length;
    memory_type = kMemoryCpu;
    error = TRITONBACKEND_InputBuffer(input, i, &source, &length, &memory_type, &memory_id);
    if (error != NULL) return error;
    if (length > byte_size - done) return TRITONSERVER_ErrorNew(kErrorInternal, "input grew");
    memcpy((char*)target + done, source, length);
    done += length;
  }
  return NULL;
}

__attribute__((visibility("default"))) Error* TRITONBACKEND_ModelInstanceExecute(
    Instance* instance, Request** requests, uint32_t request_count) {
  const uint64_t start_ns = now_ns();
  uint64_t batch_size = 0;
  for (uint32_t i = 0; i < request_count; ++i) {
    Response* response = NULL;
    uint64_t rows = 1;
    Error* error = TRITONBACKEND_ResponseNew(&response, requests[i]);
    if (error == NULL) {
      error = copy_first_input(requests[i], response, &rows);
      const bool failed = error != NULL;
      drop(TRITONBACKEND_ResponseSend(response, kResponseFinal, error));
      drop(error);
      const uint64_t end_ns = now_ns();
      drop(TRITONBACKEND_ModelInstanceReportStatistics(instance, requests[i], !failed, start_ns,
                                                       start_ns, end_ns, end_ns));
    } else {
      drop(error);
    }
    batch_size += rows;
    drop(TRITONBACKEND_RequestRelease(requests[i], kReleaseAll));
  }
  const uint64_t end_ns = now_ns();
  drop(TRITONBACKEND_ModelInstanceReportBatchStatistics(instance, batch_size, start_ns, start_ns,
                                                        end_ns, end_ns));
  return NULL;
}
