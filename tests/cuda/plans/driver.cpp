// A CUDA driver that loads any code and runs none: cuDNN compiles kernels for a GPU that is not here, and its plans end
// before the first launch. Every function takes what it is given.
#include <cstddef>

namespace {

constexpr int kSuccess = 0, kStub = 34;  // CUDA_ERROR_STUB_LIBRARY
int thing;                               // what every handle points to

void give(void** handle) { *handle = &thing; }

// Of a kernel: what cuDNN asks of one that it has compiled.
int attribute(int* value, int which) {
  constexpr int kMaxThreads = 0, kRegisters = 4;
  *value = which == kMaxThreads ? 1024 : which == kRegisters ? 64 : 0;
  return kSuccess;
}

}  // namespace

extern "C" {

int cuLibraryLoadData(void** library, ...) { return give(library), kSuccess; }
int cuLibraryUnload(void*) { return kSuccess; }
int cuLibraryGetKernel(void** kernel, void*, const char*) { return give(kernel), kSuccess; }
int cuLibraryGetKernelCount(unsigned* n, void*) { return *n = 1, kSuccess; }
int cuLibraryEnumerateKernels(void** kernels, unsigned n, void*) {
  for (unsigned i = 0; i < n; ++i) give(&kernels[i]);
  return kSuccess;
}
int cuLibraryGetGlobal(void** address, size_t* bytes, void*, const char*) {
  give(address);
  if (bytes) *bytes = sizeof thing;
  return kSuccess;
}
int cuLibraryGetModule(void** module, void*) { return give(module), kSuccess; }
int cuKernelGetFunction(void** function, void*) { return give(function), kSuccess; }
int cuKernelGetName(const char** name, void*) { return *name = "kernel", kSuccess; }
int cuKernelGetAttribute(int* value, int which, void*, int) { return attribute(value, which); }
int cuKernelSetAttribute(int, int, void*, int) { return kSuccess; }
int cuFuncGetAttribute(int* value, int which, void*) { return attribute(value, which); }
int cuFuncSetAttribute(void*, int, int) { return kSuccess; }
int cuModuleLoadData(void** module, const void*) { return give(module), kSuccess; }
int cuModuleLoadDataEx(void** module, ...) { return give(module), kSuccess; }
int cuModuleGetFunction(void** function, void*, const char*) { return give(function), kSuccess; }
int cuModuleUnload(void*) { return kSuccess; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, size_t) { return *blocks = 1, kSuccess; }

// What cuDNN looks up besides, and gets no answer from.
#define STUB(name) \
  int name() { return kStub; }
STUB(cuCtxGetCurrent)
STUB(cuCtxGetLimit)
STUB(cuCtxPopCurrent)
STUB(cuCtxPushCurrent)
STUB(cuDeviceGet)
STUB(cuDeviceGetCount)
STUB(cuDriverGetVersion)
STUB(cuGetErrorName)
STUB(cuGetErrorString)
STUB(cuLaunchCooperativeKernel)
STUB(cuLaunchKernel)
STUB(cuLaunchKernelEx)
STUB(cuLibraryLoadFromFile)
STUB(cuLinkAddData)
STUB(cuLinkComplete)
STUB(cuLinkCreate)
STUB(cuLinkDestroy)
STUB(cuOccupancyMaxPotentialClusterSize)
STUB(cuStreamGetCtx)
}
