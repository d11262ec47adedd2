/* A libcuda that computes nothing: memory is the host's, copies are done, kernels are only counted.
   tests/cuda/test_pycuda.py puts PyCUDA itself over it, so that every call's types are PyCUDA's. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long Address;
typedef void *Handle;

static int64_t handles = 0x1000;
static Handle stack[64];
static int depth;
int paper_launches, paper_replays, paper_recording;

static Handle handle(void) { return (Handle)(handles += 16); }

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return i ? 101 : 0; }
int cuDeviceGetName(char *to, int n, int d) { strncpy(to, "Paper GPU", n); return 0; }
int cuDeviceGetPCIBusId(char *to, int n, int d) { strncpy(to, "0000:01:00.0", n); return 0; }
int cuDeviceComputeCapability(int *a, int *b, int d) { *a = 9; *b = 0; return 0; }
int cuDeviceTotalMem_v2(size_t *n, int d) { *n = 1ull << 32; return 0; }
int cuDeviceGetAttribute(int *v, int which, int d) {
    *v = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 132 : which == 10 ? 32 : 1024;
    return 0;
}
int cuDevicePrimaryCtxRetain(Handle *c, int d) { *c = (Handle)0x900; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
int cuCtxPushCurrent_v2(Handle c) { stack[depth++] = c; return 0; }
int cuCtxPopCurrent_v2(Handle *c) {
    if (!depth) return 201;
    depth--;
    if (c) *c = stack[depth];
    return 0;
}
int cuCtxGetCurrent(Handle *c) { *c = depth ? stack[depth - 1] : 0; return 0; }
int cuCtxGetDevice(int *d) { *d = 0; return depth ? 0 : 201; }
int cuCtxSynchronize(void) { return depth ? 0 : 201; }

int cuMemGetInfo_v2(size_t *free, size_t *all) { *free = 1u << 30; *all = 1ull << 32; return 0; }
int cuMemAlloc_v2(Address *p, size_t n) {
    if (!depth) return 201;
    if (n > 1u << 30) return 2;
    *p = (Address)aligned_alloc(512, (n + 511) / 512 * 512);
    return 0;
}
int cuMemFree_v2(Address p) { free((void *)p); return 0; }
int cuMemHostAlloc(void **p, size_t n, unsigned flags) { *p = malloc(n + 1); return 0; }
int cuMemFreeHost(void *p) { free(p); return 0; }

static int copied(void *to, const void *from, size_t n) {
    if (!depth) return 201;
    if (!paper_recording) memmove(to, from, n);
    return 0;
}
int cuMemcpyHtoD_v2(Address to, void *s, size_t n) { return copied((void *)to, s, n); }
int cuMemcpyHtoDAsync_v2(Address to, void *s, size_t n, Handle q) { return copied((void *)to, s, n); }
int cuMemcpyDtoH_v2(void *to, Address s, size_t n) { return copied(to, (void *)s, n); }
int cuMemcpyDtoHAsync_v2(void *to, Address s, size_t n, Handle q) { return copied(to, (void *)s, n); }
int cuMemcpyDtoD_v2(Address to, Address s, size_t n) { return copied((void *)to, (void *)s, n); }
int cuMemcpyDtoDAsync_v2(Address to, Address s, size_t n, Handle q) {
    return copied((void *)to, (void *)s, n);
}
int cuMemcpyPeerAsync(Address to, Handle a, Address s, Handle b, size_t n, Handle q) {
    return copied((void *)to, (void *)s, n);
}
int cuMemsetD8_v2(Address to, unsigned char v, size_t n) { memset((void *)to, v, n); return 0; }
int cuMemsetD8Async(Address to, unsigned char v, size_t n, Handle q) {
    if (!paper_recording) memset((void *)to, v, n);
    return 0;
}

int cuStreamCreate(Handle *s, unsigned flags) { *s = handle(); return 0; }
int cuEventCreate(Handle *e, unsigned flags) { *e = handle(); return 0; }
int cuEventElapsedTime(float *t, Handle a, Handle b) { *t = 1; return 0; }
int cuEventElapsedTime_v2(float *t, Handle a, Handle b) { *t = 1; return 0; }

int cuModuleLoadDataEx(Handle *m, const void *text, unsigned n, void *options, void *values) {
    *m = handle();
    return memcmp(text, "//", 2) && memcmp(text, "\x7f" "ELF", 4) ? 218 : 0;
}
int cuModuleLoadData(Handle *m, const void *text) { return cuModuleLoadDataEx(m, text, 0, 0, 0); }
int cuModuleGetFunction(Handle *f, Handle m, const char *name) { *f = handle(); return 0; }
int cuFuncGetAttribute(int *v, int which, Handle f) { *v = 24; return 0; }
int cuLaunchKernel(Handle f, unsigned a, unsigned b, unsigned c, unsigned x, unsigned y, unsigned z,
                   unsigned shared, Handle q, void **arguments, void **extra) {
    if (!depth) return 201;
    paper_launches++;
    return !(a && b && c && x && y && z && x * y * z <= 1024);
}

int cuStreamBeginCapture_v2(Handle q, int mode) { paper_recording = 1; return !q; }
int cuStreamEndCapture(Handle q, Handle *g) { paper_recording = 0; *g = handle(); return 0; }
int cuGraphInstantiateWithFlags(Handle *x, Handle g, unsigned long long flags) {
    *x = handle();
    return 0;
}
int cuGraphLaunch(Handle x, Handle q) { paper_replays++; return 0; }
int cuGraphGetRootNodes(Handle g, Handle *n, size_t *count) { *count = 0; return 0; }
int cuGraphExecDestroy(Handle x) { return 0; }
int cuGraphDestroy(Handle g) { return 0; }
int cuGetErrorName(int e, const char **text) { *text = "PAPER_ERROR"; return 0; }
int cuGetErrorString(int e, const char **text) { *text = "a paper error"; return 0; }
