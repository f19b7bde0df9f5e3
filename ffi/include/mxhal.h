/* mxhal.h: the contract between an mxhal host and a backend that it loads.
 *
 * Copy this file; it includes only standard headers and nothing needs to be linked. A backend ("plugin") is a shared
 * library for a 64-bit platform that exports two symbols:
 *
 *   mxhal_identity      constant data, read from the file before any code of the plugin runs
 *   mxhal_plugin_open   gives the host a table of functions
 *
 * What the operators compute is said at each operator below. What is true of everything:
 *
 *  R1  Every struct begins with `uint32_t struct_size` (the identity: right after its magic), set by whoever owns the
 *      memory. Structs only ever grow at their end. Read and write no further than the smaller of both sides' sizes:
 *      compare with >=, never with ==. A function pointer beyond the other side's size does not exist.
 *  R2  Every function returns MXHAL_OK or a mxhal_status, and takes a caller-owned mxhal_error last, which may be null.
 *      A function that fails has done nothing, unless it says otherwise. No exception, panic or longjmp crosses.
 *  R3  Handles are the plugin's, opaque to the host. Whoever created one destroys it, children and parents in any order;
 *      destroying null is OK. A null handle elsewhere is MXHAL_INVALID_ARGUMENT.
 *  R4  Memory is freed by the side that allocated it. Strings and arrays passed in are only valid during the call.
 *  R5  Device addresses are plain pointers, so that an engine's own allocations can be passed. The host never
 *      dereferences one. Addresses of tensors are multiples of mxhal_device_info.alignment.
 *  R6  Work is enqueued on a stream and runs in order there; enqueuing returns without waiting for the device. (A device
 *      without a queue, such as a CPU, may finish the work before it returns.) What fails later is reported, once,
 *      by whoever synchronises with that stream or with an event recorded in it.
 *  R7  The functions of a plugin and of a device may be called from any thread at any time. One stream is used by one
 *      thread at a time. Plans and weights are immutable and may be used by many at once.
 *  R8  An unknown kind, format or enum value is MXHAL_UNSUPPORTED, with the value in the message; never a guess.
 *  R9  The plugin writes nothing to stdout or stderr, installs no signal handler, and does not change the process.
 *      Messages go to mxhal_host.log.
 *
 * A plugin built for 1.n runs on every host of 1.n or later. Minor versions add at the end of structs and enumerations,
 * and change nothing that there is.
 */
#ifndef MXHAL_H
#define MXHAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MXHAL_ABI_MAJOR 1
#define MXHAL_ABI_MINOR 0
#define MXHAL_MAX_RANK 4

/* ---- status and errors --------------------------------------------------------------------------------------------- */

typedef enum mxhal_status {
  MXHAL_OK = 0,
  MXHAL_INVALID_ARGUMENT = 1, /* an argument breaks the contract; nothing was done */
  MXHAL_UNSUPPORTED = 2,      /* operator, format, attribute or shape not offered; the message says which, and why */
  MXHAL_OUT_OF_MEMORY = 3,    /* everything that was live still is */
  MXHAL_NOT_READY = 4,        /* a query of work that is under way */
  MXHAL_TIMEOUT = 5,          /* the time given was not enough; the work goes on */
  MXHAL_DEVICE_LOST = 6,      /* nothing on this device works until it is opened anew */
  MXHAL_UNAVAILABLE = 7,      /* a driver, library or device is absent; the message lists what was tried */
  MXHAL_INTERNAL = 8          /* a fault of the plugin */
} mxhal_status;

/* Owned by the caller, who sets struct_size; may be null wherever it is taken. The callee fills it when it fails, and
 * leaves it alone otherwise. */
typedef struct mxhal_error {
  uint32_t struct_size;
  int32_t status;      /* as returned */
  int64_t vendor_code; /* a CUresult, an aclError, an errno; 0 for none */
  char message[496];   /* UTF-8, ends in 0: what was seen, what was expected, what to do */
} mxhal_error;

/* ---- identity: constant data in the file ----------------------------------------------------------------------------- */

#define MXHAL_IDENTITY_MAGIC UINT64_C(0x314c41485f584d00)

enum { /* mxhal_plugin_identity.sanitizer */
  MXHAL_SANITIZER_NONE = 0,
  MXHAL_SANITIZER_ADDRESS = 1,
  MXHAL_SANITIZER_THREAD = 2,
  MXHAL_SANITIZER_MEMORY = 3
};

enum { /* mxhal_plugin_identity.flags */
  MXHAL_PLUGIN_MAY_UNLOAD = 1u /* the library may be unmapped after shutdown; else it stays mapped */
};

/* Plain bytes without pointers, so that it can be read from the file. Export it as `mxhal_identity` (see the end). */
typedef struct mxhal_plugin_identity {
  uint64_t magic; /* MXHAL_IDENTITY_MAGIC */
  uint32_t struct_size;
  uint32_t abi_major;       /* MXHAL_ABI_MAJOR; a host refuses another */
  uint32_t abi_minor_least; /* runs on any host of at least this minor version */
  uint32_t abi_minor_built; /* MXHAL_ABI_MINOR */
  uint64_t layout_hash;     /* MXHAL_LAYOUT_HASH: sizes and offsets as of abi_minor_built */
  uint32_t sanitizer;       /* what it was built with; a host refuses one that it does not run under */
  uint32_t flags;
  char name[32];    /* as in config.toml: lower-case letters, digits, '-' and '_' */
  char vendor[64];  /* who made it */
  char version[32]; /* its own version */
} mxhal_plugin_identity;

/* ---- handles --------------------------------------------------------------------------------------------------------- */

typedef struct mxhal_device mxhal_device;
typedef struct mxhal_stream mxhal_stream;
typedef struct mxhal_event mxhal_event;
typedef struct mxhal_plan mxhal_plan;       /* immutable */
typedef struct mxhal_weights mxhal_weights; /* immutable */

/* ---- formats and tensors --------------------------------------------------------------------------------------------- */

typedef enum mxhal_format {
  MXHAL_F32 = 1,
  MXHAL_BF16 = 2,
  MXHAL_F16 = 3,
  MXHAL_I32 = 4,
  MXHAL_I64 = 5,
  MXHAL_U8 = 6,
  MXHAL_MXFP4 = 16,      /* E2M1, two a byte, the even index in the low nibble; E8M0 per 32 columns */
  MXHAL_MXFP8 = 17,      /* E4M3; E8M0 per 32 */
  MXHAL_MXFP8_G128 = 18, /* E4M3; E8M0 per 128, the last of a row may be short; columns are a multiple of 32 */
  MXHAL_MXINT8 = 19,     /* int8 / 64; E8M0 per 32 */
  MXHAL_NVFP4 = 20,      /* E2M1; E4M3 per 16; and a float32 factor per tensor or row */
  MXHAL_FP8_TILE128 = 21 /* E4M3; E8M0 per tile of 128 rows x 128 columns */
} mxhal_format;

/* A view; nothing in it is owned. Shapes and strides count elements, also where two share a byte. The last dimension is
 * K, along which scales are shared; its stride is 1. Block-scaled formats have no gaps; plain ones may have any outer
 * stride that keeps rows apart. Scale byte b is 2^(b-127); 255 is NaN and makes its elements NaN. */
typedef struct mxhal_tensor {
  uint32_t struct_size;
  uint32_t format; /* mxhal_format */
  uint32_t rank;   /* 1 to MXHAL_MAX_RANK */
  uint32_t reserved;
  int64_t shape[MXHAL_MAX_RANK]; /* entries beyond rank are ignored */
  int64_t stride[MXHAL_MAX_RANK];
  void *data;
  uint64_t data_bytes;
  void *scales; /* row-major, one byte a block; null for plain formats */
  uint64_t scales_bytes;
  void *factors; /* NVFP4: float32, one (4 bytes) or one a row; null elsewhere */
  uint64_t factors_bytes;
} mxhal_tensor;

/* ---- operators: tagged values ---------------------------------------------------------------------------------------- */

typedef enum mxhal_op_kind {
  MXHAL_OP_QUANTIZE = 1,
  MXHAL_OP_DEQUANTIZE = 2,
  MXHAL_OP_MATMUL = 3,
  MXHAL_OP_GROUPED_MATMUL = 4,
  MXHAL_OP_SWIGLU = 5,
  MXHAL_OP_ROUTE = 6,
  MXHAL_OP_PERMUTE = 7,
  MXHAL_OP_COMBINE = 8,
  MXHAL_OP_MOE_FFN = 9
} mxhal_op_kind;

/* The head of every operator. A plan is made for at most so many rows (tokens) and run with as many as its tensors have,
 * zero included. Tensors are passed in the order of the tables below; one whose condition does not hold is passed as
 * null. [..] are shapes, outermost first. */
typedef struct mxhal_op {
  uint32_t struct_size; /* of the whole operator */
  uint32_t kind;        /* mxhal_op_kind */
} mxhal_op;

typedef enum mxhal_scale_rule {
  MXHAL_SCALE_CEIL = 1,   /* the least E8M0 scale at which nothing saturates: amax <= the largest element * scale */
  MXHAL_SCALE_FLOOR = 2,  /* OCP MX 1.0: floor(log2 amax) - emax */
  MXHAL_SCALE_EVEN = 3,   /* as floor, after amax is rounded (half up) to the element's mantissa */
  MXHAL_SCALE_NEAREST = 4 /* NVFP4, and only there: the E4M3 scale nearest to amax / 6 / factor */
} mxhal_scale_rule;

/* To what and how values are rounded. Elements round to nearest, ties to even, saturate, and keep the sign of zero. A
 * block that holds a NaN or an infinity gets scale byte 255 (NVFP4: 0x7f) and any codes. An all-zero block gets scale byte
 * 0, or that of amax_floor where it is above 0, and zero codes. Other scale bytes are clamped to 0 to 254. NVFP4: factor =
 * max(amax(row) / 2688, 2^-126), scale = e4m3(clamp(amax / 6 / factor, 2^-9, 448)), element = e2m1(x / (scale * factor)),
 * each step rounded to float32. */
typedef struct mxhal_quantization {
  uint32_t format;     /* mxhal_format; F32, BF16 or F16: nothing is quantized */
  uint32_t scale_rule; /* mxhal_scale_rule; ignored where nothing is quantized */
  float amax_floor;    /* amax is at least this: 0, or DeepSeek's 1e-4 */
  uint32_t reserved;   /* 0 */
} mxhal_quantization;

/* 0 x [rows, k] in input_format -> 1 y [rows, k] in to.format */
typedef struct mxhal_op_quantize {
  mxhal_op op;
  int64_t rows; /* the most of a run; so wherever it says rows, m or tokens */
  int64_t k;
  uint32_t input_format; /* F32, BF16 or F16 */
  uint32_t reserved;
  mxhal_quantization to;
} mxhal_op_quantize;

/* 0 x [rows, k] in from_format -> 1 y [rows, k] in output_format, rounded once */
typedef struct mxhal_op_dequantize {
  mxhal_op op;
  int64_t rows, k;
  uint32_t from_format;   /* a block-scaled one */
  uint32_t output_format; /* F32, BF16 or F16 */
} mxhal_op_dequantize;

/* y[m, n] = round(sum over k of a[m, k] w[n, k] + bias[n]), rounded once.
 * 0 a [m, k] in input_format, 1 bias [n] F32 if has_bias -> 2 y [m, n] in output_format; weights: 0 w [n, k] */
typedef struct mxhal_op_matmul {
  mxhal_op op;
  int64_t m, n, k;
  uint32_t input_format; /* BF16, quantized as `activation` says before it is multiplied; or activation.format */
  uint32_t weight_format;
  uint32_t output_format; /* F32, BF16 or F16 */
  uint32_t has_bias;
  mxhal_quantization activation; /* what is multiplied: the scheme. BF16 for W4A16 */
} mxhal_op_matmul;

/* Rows sorted by group, each group's by its own matrix. Rows beyond the sum of counts are left as they were. No count is
 * negative, and their sum is at most the rows of the run.
 * 0 a [m, k], 1 counts [groups] I32, 2 bias [groups, n] F32 if has_bias -> 3 y [m, n]; weights: 0 w [groups, n, k] */
typedef struct mxhal_op_grouped_matmul {
  mxhal_op_matmul each; /* its op.kind and op.struct_size are those of the grouped operator */
  int64_t groups;
} mxhal_op_grouped_matmul;

typedef enum mxhal_swiglu_variant {
  MXHAL_SWIGLU_SILU = 1,   /* silu(min(g, limit)) * clamp(u, -limit, limit) */
  MXHAL_SWIGLU_GPT_OSS = 2 /* (clamp(u, -limit, limit) + 1) * g * sigmoid(alpha g), g at most limit */
} mxhal_swiglu_variant;

typedef struct mxhal_swiglu_form {
  uint32_t variant;     /* mxhal_swiglu_variant */
  uint32_t interleaved; /* 0: all gates, then all ups; 1: alternating, gate first */
  float limit;          /* 0 for none */
  float alpha;          /* of gpt-oss, 1.702; 0 for the other */
} mxhal_swiglu_form;

/* In float32, times the row's weight, rounded to to.format; a block-scaled one by way of BF16.
 * 0 x [rows, 2n] in input_format, 1 row_weights [rows] F32 if has_row_weights -> 2 y [rows, n] */
typedef struct mxhal_op_swiglu {
  mxhal_op op;
  int64_t rows, n;
  mxhal_swiglu_form form;
  uint32_t input_format; /* F32, BF16 or F16 */
  uint32_t has_row_weights;
  mxhal_quantization to;
} mxhal_op_swiglu;

typedef enum mxhal_score {
  MXHAL_SCORE_SOFTMAX = 1,
  MXHAL_SCORE_SIGMOID = 2,
  MXHAL_SCORE_SQRT_SOFTPLUS = 3,
  MXHAL_SCORE_SOFTMAX_OF_CHOSEN = 4 /* chosen by logit; softmax over the chosen */
} mxhal_score;

/* The top_k experts by score + bias, the lower id first on a tie; their weights are the scores without bias. Given ids are
 * copied in their order, -1 with weight 0; they exclude a bias.
 * 0 logits [tokens, experts] F32, 1 bias [experts] F32 if has_bias, 2 ids_given [tokens, top_k] I32 if so
 * -> 3 ids [tokens, top_k] I32, 4 weights [tokens, top_k] F32 */
typedef struct mxhal_op_route {
  mxhal_op op;
  int64_t tokens, experts, top_k;
  uint32_t score; /* mxhal_score */
  uint32_t has_bias, ids_given;
  uint32_t renormalize; /* weights are divided by their sum */
  float scale;          /* and multiplied by this */
  uint32_t reserved;
} mxhal_op_route;

/* Rows in order of expert, within an expert in order of (token, slot). Ids outside the experts (-1 above all) are
 * skipped; rows and row weights past the last are left as they were.
 * 0 x [tokens, columns], 1 ids [tokens, top_k] I32, 2 weights [tokens, top_k] F32 if has_weights,
 * 3 expert_map [mapped] I32 if mapped > 0: id -> expert here, or -1
 * -> 4 rows [tokens top_k, columns], 5 row_weights [tokens top_k] F32 if has_weights, 6 counts [experts] I32,
 * 7 source [tokens top_k] I32: token top_k + slot of each row, -1 past the last,
 * 8 positions [tokens, top_k] I32: the row of each slot, -1 where skipped */
typedef struct mxhal_op_permute {
  mxhal_op op;
  int64_t tokens, columns, experts, top_k, mapped;
  uint32_t format; /* of x and rows; scales and factors move with their rows */
  uint32_t has_weights;
} mxhal_op_permute;

/* y[t] = round(sum over slots of weights[t, s] rows[positions[t, s]] + addend[t]), summed in float32.
 * 0 rows [tokens top_k, columns] in input_format, 1 positions [tokens, top_k] I32,
 * 2 weights [tokens, top_k] F32 if weighted, 3 addend [tokens, columns] in addend_format if that is not 0
 * -> 4 y [tokens, columns] in output_format */
typedef struct mxhal_op_combine {
  mxhal_op op;
  int64_t tokens, columns, top_k;
  uint32_t input_format, output_format, weighted, addend_format;
} mxhal_op_combine;

typedef enum mxhal_weight_position {
  MXHAL_WEIGHT_BEFORE_DOWN = 1, /* multiplies the SwiGLU's output in float32 */
  MXHAL_WEIGHT_AFTER_DOWN = 2   /* multiplies the down projection's output when experts are summed */
} mxhal_weight_position;

/* Gate and up, SwiGLU, down, summed over the chosen experts. Intermediates are rounded to BF16 (or better) after each
 * product, and quantized as `activation` says before each; experts are summed in float32, the shared one added, and the
 * result rounded once.
 * 0 x [tokens, hidden] BF16, 1 ids [tokens, top_k] I32, 2 weights [tokens, top_k] F32, 3 expert_map [mapped] I32 if
 * mapped > 0, 4 gate_up_bias [experts, 2 inner] F32 and 5 down_bias [experts, hidden] F32 if has_bias
 * -> 6 y [tokens, hidden] in output_format
 * weights: 0 gate_up [experts, 2 inner, hidden], 1 down [experts, hidden, inner], and if shared_inner > 0
 * 2 [1, 2 shared_inner, hidden], 3 [1, hidden, shared_inner] of shared_weight_format */
typedef struct mxhal_op_moe_ffn {
  mxhal_op op;
  int64_t tokens, hidden, inner, experts, top_k, mapped, shared_inner;
  uint32_t weight_format;
  uint32_t shared_weight_format; /* 0 where shared_inner is 0 */
  mxhal_quantization activation;
  mxhal_swiglu_form form;
  uint32_t weight_position; /* mxhal_weight_position */
  uint32_t has_bias;
  uint32_t output_format;
  uint32_t shared_clamped; /* whether form.limit holds for the shared expert too */
} mxhal_op_moe_ffn;

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

typedef enum mxhal_reason {
  MXHAL_REASON_NONE = 0,
  MXHAL_REASON_OPERATOR = 1,
  MXHAL_REASON_FORMAT = 2,
  MXHAL_REASON_SHAPE = 3,
  MXHAL_REASON_ATTRIBUTE = 4,
  MXHAL_REASON_ARCHITECTURE = 5,
  MXHAL_REASON_LIBRARY = 6,
  MXHAL_REASON_OTHER = 7
} mxhal_reason;

enum { /* mxhal_answer.flags: promises, each of which the conformance suite tests */
  MXHAL_CAPTURABLE = 1u,       /* may be captured in a graph */
  MXHAL_RUN_TO_RUN = 2u,       /* the same bits from run to run */
  MXHAL_BATCH_INVARIANT = 4u,  /* a row gives the same bits in any batch */
  MXHAL_THREAD_INVARIANT = 8u, /* and with any number of threads or streams */
  MXHAL_SLOT_ORDER = 16u       /* combine and moe_ffn sum in order of slot, in float32 */
};

typedef struct mxhal_answer { /* of op_supports */
  uint32_t struct_size;
  uint32_t yes;
  uint32_t reason; /* mxhal_reason, where it is no */
  uint32_t flags;
  char text[240]; /* why not: a sentence, UTF-8, ends in 0 */
} mxhal_answer;

typedef struct mxhal_plan_info {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t workspace_bytes; /* of each run under way; aligned as tensors are */
  char kernel[64];          /* what was chosen, for reports; may be empty */
} mxhal_plan_info;

typedef struct mxhal_device_info {
  uint32_t struct_size;
  uint32_t units;        /* multiprocessors, cores or threads */
  uint64_t memory_bytes; /* all there is */
  uint64_t alignment;    /* of tensors and allocations, in bytes: a power of two, at most 4096 */
  char name[96];
  char architecture[32];
  char driver[64];
} mxhal_device_info;

/* Weights prepared with a description serve every plan of the same device that wants an equal one in that place. */
typedef struct mxhal_weights_desc {
  uint32_t struct_size;
  uint32_t format;            /* of the canonical bytes */
  uint32_t activation_format; /* that they will be multiplied with: the scheme's */
  uint32_t reserved;
  int64_t groups, n, k; /* groups is 1 for a single matrix */
} mxhal_weights_desc;

typedef struct mxhal_weights_info {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t bytes; /* held, on device and host together */
  mxhal_weights_desc desc;
} mxhal_weights_info;

/* ---- the host's table ------------------------------------------------------------------------------------------------- */

typedef enum mxhal_log_level {
  MXHAL_LOG_ERROR = 1,
  MXHAL_LOG_WARN = 2,
  MXHAL_LOG_INFO = 3,
  MXHAL_LOG_DEBUG = 4,
  MXHAL_LOG_TRACE = 5
} mxhal_log_level;

/* The options and the table itself are valid during mxhal_plugin_open; `log` with its context until shutdown returns, from
 * any thread. */
typedef struct mxhal_host {
  uint32_t struct_size;
  uint32_t abi_minor; /* the host's; its major is the plugin's */
  void *context;
  void (*log)(void *context, int32_t level, const char *target, const char *message); /* may be null */
  const char *const *option_keys; /* [backend.options] of config.toml; null-ended, may be null */
  const char *const *option_values;
} mxhal_host;

/* ---- the plugin's table ----------------------------------------------------------------------------------------------- */

/* All are required but `extension` and `stream_wrap`, which may be null. */
typedef struct mxhal_plugin {
  uint32_t struct_size; /* in: the host's; out: the smaller of both sides' */
  uint32_t abi_minor;   /* out: the plugin's */
  void *self;           /* first argument of the plugin's own functions */

  /* After all handles are gone; the last call. */
  int32_t (*shutdown)(void *self, mxhal_error *error);
  /* 0 is an answer. UNAVAILABLE where the driver that knows is absent: list the names that were tried. */
  int32_t (*device_count)(void *self, uint32_t *count, mxhal_error *error);
  int32_t (*device_open)(void *self, uint32_t index, mxhal_device **device, mxhal_error *error);
  int32_t (*device_close)(mxhal_device *device, mxhal_error *error);
  int32_t (*device_info)(mxhal_device *device, mxhal_device_info *info, mxhal_error *error);

  /* Memory. Zero bytes give an address that can be freed; freeing null is OK. */
  int32_t (*memory_alloc)(mxhal_device *device, uint64_t bytes, void **address, mxhal_error *error);
  int32_t (*memory_free)(mxhal_device *device, void *address, mxhal_error *error);
  int32_t (*memory_info)(mxhal_device *device, uint64_t *free_bytes, uint64_t *total_bytes, mxhal_error *error);
  /* Host memory that copies are fastest with. */
  int32_t (*memory_host_alloc)(mxhal_device *device, uint64_t bytes, void **address, mxhal_error *error);
  int32_t (*memory_host_free)(mxhal_device *device, void *address, mxhal_error *error);

  /* Streams. A wrapped native stream (a cudaStream_t, an aclrtStream) stays its owner's. */
  int32_t (*stream_create)(mxhal_device *device, mxhal_stream **stream, mxhal_error *error);
  int32_t (*stream_wrap)(mxhal_device *device, void *native, mxhal_stream **stream, mxhal_error *error);
  int32_t (*stream_destroy)(mxhal_stream *stream, mxhal_error *error);
  /* Waits for everything enqueued; timeout_ns UINT64_MAX: for ever. Reports what failed before. */
  int32_t (*stream_synchronize)(mxhal_stream *stream, uint64_t timeout_ns, mxhal_error *error);

  /* Events: marks in a stream. Waiting for one that was never recorded returns at once. A timeout of 0 is a query,
   * answered NOT_READY. */
  int32_t (*event_create)(mxhal_device *device, mxhal_event **event, mxhal_error *error);
  int32_t (*event_destroy)(mxhal_event *event, mxhal_error *error);
  int32_t (*event_record)(mxhal_event *event, mxhal_stream *stream, mxhal_error *error);
  int32_t (*event_wait)(mxhal_event *event, mxhal_stream *stream, mxhal_error *error);
  int32_t (*event_synchronize)(mxhal_event *event, uint64_t timeout_ns, mxhal_error *error);
  int32_t (*event_elapsed)(mxhal_event *from, mxhal_event *to, double *seconds, mxhal_error *error);

  /* Copies, enqueued. Host memory stays the caller's, and lives until the stream has passed the copy. */
  int32_t (*copy_to_device)(mxhal_stream *stream, void *to, const void *from, uint64_t bytes, mxhal_error *error);
  int32_t (*copy_to_host)(mxhal_stream *stream, void *to, const void *from, uint64_t bytes, mxhal_error *error);
  int32_t (*copy_on_device)(mxhal_stream *stream, void *to, const void *from, uint64_t bytes, mxhal_error *error);
  int32_t (*fill)(mxhal_stream *stream, void *to, uint8_t value, uint64_t bytes, mxhal_error *error);

  /* Operators. Yes obliges plan_create to succeed, memory permitting, and the plan to run; no obliges plan_create to
   * refuse with UNSUPPORTED, the answer's text as message and its reason as vendor_code. */
  int32_t (*op_supports)(mxhal_device *device, const mxhal_op *op, mxhal_answer *answer, mxhal_error *error);
  int32_t (*plan_create)(mxhal_device *device, const mxhal_op *op, mxhal_plan **plan, mxhal_error *error);
  int32_t (*plan_info)(const mxhal_plan *plan, mxhal_plan_info *info, mxhal_error *error);
  /* Allocates nothing. The workspace is used by nothing else until the stream has passed the run. */
  int32_t (*plan_run)(const mxhal_plan *plan, mxhal_stream *stream, const mxhal_tensor *const *tensors,
                      uint32_t tensor_count, const mxhal_weights *const *weights, uint32_t weights_count, void *workspace,
                      uint64_t workspace_bytes, mxhal_error *error);
  int32_t (*plan_destroy)(mxhal_plan *plan, mxhal_error *error);

  /* Weights. `parts` are in host memory, canonical layout, and may be freed when the call returns: matrices [n_i, k],
   * equally many for each group, group by group; those of one group stack to [n, k]. */
  int32_t (*weights_prepare)(mxhal_device *device, const mxhal_weights_desc *desc, const mxhal_tensor *const *parts,
                             uint32_t part_count, mxhal_weights **weights, mxhal_error *error);
  /* `to` is a contiguous host tensor [groups, n, k] of the description's format (one factor a row): the same bits. */
  int32_t (*weights_export)(const mxhal_weights *weights, const mxhal_tensor *to, mxhal_error *error);
  int32_t (*weights_info)(const mxhal_weights *weights, mxhal_weights_info *info, mxhal_error *error);
  int32_t (*weights_destroy)(mxhal_weights *weights, mxhal_error *error);

  /* The table of an extension ("mxhal.ext.graph", ...), or null where it is not offered. */
  const void *(*extension)(void *self, const char *name);
} mxhal_plugin;

/* ---- what a plugin exports --------------------------------------------------------------------------------------------- */

typedef int32_t (*mxhal_plugin_open_function)(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error);

#if defined(_WIN32)
#define MXHAL_EXPORT __declspec(dllexport)
#else
#define MXHAL_EXPORT __attribute__((visibility("default")))
#endif

#if defined(MXHAL_BUILDING_PLUGIN)
extern MXHAL_EXPORT const mxhal_plugin_identity mxhal_identity;
/* Fills `plugin` up to the smaller of both sides' sizes. UNAVAILABLE where nothing could ever work here (but prefer to
 * open and to have no device). Called once a load; may be called again after shutdown. */
MXHAL_EXPORT int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error);
#endif

/* ---- generated: sizes and offsets, checked by every compiler that reads this -------------------------------------------- */
/* BEGIN GENERATED LAYOUT */
#define MXHAL_LAYOUT_HASH UINT64_C(0x0d6cab80c91c0002)

#ifdef __cplusplus
#define MXHAL_STATIC_ASSERT static_assert
#else
#define MXHAL_STATIC_ASSERT _Static_assert
#endif
#define MXHAL_SIZE_IS(type, bytes) MXHAL_STATIC_ASSERT(sizeof(type) == bytes, "sizeof(" #type ") is not " #bytes)
#define MXHAL_OFFSET_IS(type, field, bytes) \
  MXHAL_STATIC_ASSERT(offsetof(type, field) == bytes, #type "." #field " is not at byte " #bytes)

MXHAL_SIZE_IS(mxhal_error, 512);
MXHAL_OFFSET_IS(mxhal_error, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_error, status, 4);
MXHAL_OFFSET_IS(mxhal_error, vendor_code, 8);
MXHAL_OFFSET_IS(mxhal_error, message, 16);
MXHAL_SIZE_IS(mxhal_plugin_identity, 168);
MXHAL_OFFSET_IS(mxhal_plugin_identity, magic, 0);
MXHAL_OFFSET_IS(mxhal_plugin_identity, struct_size, 8);
MXHAL_OFFSET_IS(mxhal_plugin_identity, abi_major, 12);
MXHAL_OFFSET_IS(mxhal_plugin_identity, abi_minor_least, 16);
MXHAL_OFFSET_IS(mxhal_plugin_identity, abi_minor_built, 20);
MXHAL_OFFSET_IS(mxhal_plugin_identity, layout_hash, 24);
MXHAL_OFFSET_IS(mxhal_plugin_identity, sanitizer, 32);
MXHAL_OFFSET_IS(mxhal_plugin_identity, flags, 36);
MXHAL_OFFSET_IS(mxhal_plugin_identity, name, 40);
MXHAL_OFFSET_IS(mxhal_plugin_identity, vendor, 72);
MXHAL_OFFSET_IS(mxhal_plugin_identity, version, 136);
MXHAL_SIZE_IS(mxhal_tensor, 128);
MXHAL_OFFSET_IS(mxhal_tensor, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_tensor, format, 4);
MXHAL_OFFSET_IS(mxhal_tensor, rank, 8);
MXHAL_OFFSET_IS(mxhal_tensor, reserved, 12);
MXHAL_OFFSET_IS(mxhal_tensor, shape, 16);
MXHAL_OFFSET_IS(mxhal_tensor, stride, 48);
MXHAL_OFFSET_IS(mxhal_tensor, data, 80);
MXHAL_OFFSET_IS(mxhal_tensor, data_bytes, 88);
MXHAL_OFFSET_IS(mxhal_tensor, scales, 96);
MXHAL_OFFSET_IS(mxhal_tensor, scales_bytes, 104);
MXHAL_OFFSET_IS(mxhal_tensor, factors, 112);
MXHAL_OFFSET_IS(mxhal_tensor, factors_bytes, 120);
MXHAL_SIZE_IS(mxhal_op, 8);
MXHAL_OFFSET_IS(mxhal_op, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_op, kind, 4);
MXHAL_SIZE_IS(mxhal_quantization, 16);
MXHAL_OFFSET_IS(mxhal_quantization, format, 0);
MXHAL_OFFSET_IS(mxhal_quantization, scale_rule, 4);
MXHAL_OFFSET_IS(mxhal_quantization, amax_floor, 8);
MXHAL_OFFSET_IS(mxhal_quantization, reserved, 12);
MXHAL_SIZE_IS(mxhal_op_quantize, 48);
MXHAL_OFFSET_IS(mxhal_op_quantize, op, 0);
MXHAL_OFFSET_IS(mxhal_op_quantize, rows, 8);
MXHAL_OFFSET_IS(mxhal_op_quantize, k, 16);
MXHAL_OFFSET_IS(mxhal_op_quantize, input_format, 24);
MXHAL_OFFSET_IS(mxhal_op_quantize, reserved, 28);
MXHAL_OFFSET_IS(mxhal_op_quantize, to, 32);
MXHAL_SIZE_IS(mxhal_op_dequantize, 32);
MXHAL_OFFSET_IS(mxhal_op_dequantize, op, 0);
MXHAL_OFFSET_IS(mxhal_op_dequantize, rows, 8);
MXHAL_OFFSET_IS(mxhal_op_dequantize, k, 16);
MXHAL_OFFSET_IS(mxhal_op_dequantize, from_format, 24);
MXHAL_OFFSET_IS(mxhal_op_dequantize, output_format, 28);
MXHAL_SIZE_IS(mxhal_op_matmul, 64);
MXHAL_OFFSET_IS(mxhal_op_matmul, op, 0);
MXHAL_OFFSET_IS(mxhal_op_matmul, m, 8);
MXHAL_OFFSET_IS(mxhal_op_matmul, n, 16);
MXHAL_OFFSET_IS(mxhal_op_matmul, k, 24);
MXHAL_OFFSET_IS(mxhal_op_matmul, input_format, 32);
MXHAL_OFFSET_IS(mxhal_op_matmul, weight_format, 36);
MXHAL_OFFSET_IS(mxhal_op_matmul, output_format, 40);
MXHAL_OFFSET_IS(mxhal_op_matmul, has_bias, 44);
MXHAL_OFFSET_IS(mxhal_op_matmul, activation, 48);
MXHAL_SIZE_IS(mxhal_op_grouped_matmul, 72);
MXHAL_OFFSET_IS(mxhal_op_grouped_matmul, each, 0);
MXHAL_OFFSET_IS(mxhal_op_grouped_matmul, groups, 64);
MXHAL_SIZE_IS(mxhal_swiglu_form, 16);
MXHAL_OFFSET_IS(mxhal_swiglu_form, variant, 0);
MXHAL_OFFSET_IS(mxhal_swiglu_form, interleaved, 4);
MXHAL_OFFSET_IS(mxhal_swiglu_form, limit, 8);
MXHAL_OFFSET_IS(mxhal_swiglu_form, alpha, 12);
MXHAL_SIZE_IS(mxhal_op_swiglu, 64);
MXHAL_OFFSET_IS(mxhal_op_swiglu, op, 0);
MXHAL_OFFSET_IS(mxhal_op_swiglu, rows, 8);
MXHAL_OFFSET_IS(mxhal_op_swiglu, n, 16);
MXHAL_OFFSET_IS(mxhal_op_swiglu, form, 24);
MXHAL_OFFSET_IS(mxhal_op_swiglu, input_format, 40);
MXHAL_OFFSET_IS(mxhal_op_swiglu, has_row_weights, 44);
MXHAL_OFFSET_IS(mxhal_op_swiglu, to, 48);
MXHAL_SIZE_IS(mxhal_op_route, 56);
MXHAL_OFFSET_IS(mxhal_op_route, op, 0);
MXHAL_OFFSET_IS(mxhal_op_route, tokens, 8);
MXHAL_OFFSET_IS(mxhal_op_route, experts, 16);
MXHAL_OFFSET_IS(mxhal_op_route, top_k, 24);
MXHAL_OFFSET_IS(mxhal_op_route, score, 32);
MXHAL_OFFSET_IS(mxhal_op_route, has_bias, 36);
MXHAL_OFFSET_IS(mxhal_op_route, ids_given, 40);
MXHAL_OFFSET_IS(mxhal_op_route, renormalize, 44);
MXHAL_OFFSET_IS(mxhal_op_route, scale, 48);
MXHAL_OFFSET_IS(mxhal_op_route, reserved, 52);
MXHAL_SIZE_IS(mxhal_op_permute, 56);
MXHAL_OFFSET_IS(mxhal_op_permute, op, 0);
MXHAL_OFFSET_IS(mxhal_op_permute, tokens, 8);
MXHAL_OFFSET_IS(mxhal_op_permute, columns, 16);
MXHAL_OFFSET_IS(mxhal_op_permute, experts, 24);
MXHAL_OFFSET_IS(mxhal_op_permute, top_k, 32);
MXHAL_OFFSET_IS(mxhal_op_permute, mapped, 40);
MXHAL_OFFSET_IS(mxhal_op_permute, format, 48);
MXHAL_OFFSET_IS(mxhal_op_permute, has_weights, 52);
MXHAL_SIZE_IS(mxhal_op_combine, 48);
MXHAL_OFFSET_IS(mxhal_op_combine, op, 0);
MXHAL_OFFSET_IS(mxhal_op_combine, tokens, 8);
MXHAL_OFFSET_IS(mxhal_op_combine, columns, 16);
MXHAL_OFFSET_IS(mxhal_op_combine, top_k, 24);
MXHAL_OFFSET_IS(mxhal_op_combine, input_format, 32);
MXHAL_OFFSET_IS(mxhal_op_combine, output_format, 36);
MXHAL_OFFSET_IS(mxhal_op_combine, weighted, 40);
MXHAL_OFFSET_IS(mxhal_op_combine, addend_format, 44);
MXHAL_SIZE_IS(mxhal_op_moe_ffn, 120);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, op, 0);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, tokens, 8);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, hidden, 16);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, inner, 24);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, experts, 32);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, top_k, 40);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, mapped, 48);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, shared_inner, 56);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, weight_format, 64);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, shared_weight_format, 68);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, activation, 72);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, form, 88);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, weight_position, 104);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, has_bias, 108);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, output_format, 112);
MXHAL_OFFSET_IS(mxhal_op_moe_ffn, shared_clamped, 116);
MXHAL_SIZE_IS(mxhal_answer, 256);
MXHAL_OFFSET_IS(mxhal_answer, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_answer, yes, 4);
MXHAL_OFFSET_IS(mxhal_answer, reason, 8);
MXHAL_OFFSET_IS(mxhal_answer, flags, 12);
MXHAL_OFFSET_IS(mxhal_answer, text, 16);
MXHAL_SIZE_IS(mxhal_plan_info, 80);
MXHAL_OFFSET_IS(mxhal_plan_info, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_plan_info, reserved, 4);
MXHAL_OFFSET_IS(mxhal_plan_info, workspace_bytes, 8);
MXHAL_OFFSET_IS(mxhal_plan_info, kernel, 16);
MXHAL_SIZE_IS(mxhal_device_info, 216);
MXHAL_OFFSET_IS(mxhal_device_info, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_device_info, units, 4);
MXHAL_OFFSET_IS(mxhal_device_info, memory_bytes, 8);
MXHAL_OFFSET_IS(mxhal_device_info, alignment, 16);
MXHAL_OFFSET_IS(mxhal_device_info, name, 24);
MXHAL_OFFSET_IS(mxhal_device_info, architecture, 120);
MXHAL_OFFSET_IS(mxhal_device_info, driver, 152);
MXHAL_SIZE_IS(mxhal_weights_desc, 40);
MXHAL_OFFSET_IS(mxhal_weights_desc, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_weights_desc, format, 4);
MXHAL_OFFSET_IS(mxhal_weights_desc, activation_format, 8);
MXHAL_OFFSET_IS(mxhal_weights_desc, reserved, 12);
MXHAL_OFFSET_IS(mxhal_weights_desc, groups, 16);
MXHAL_OFFSET_IS(mxhal_weights_desc, n, 24);
MXHAL_OFFSET_IS(mxhal_weights_desc, k, 32);
MXHAL_SIZE_IS(mxhal_weights_info, 56);
MXHAL_OFFSET_IS(mxhal_weights_info, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_weights_info, reserved, 4);
MXHAL_OFFSET_IS(mxhal_weights_info, bytes, 8);
MXHAL_OFFSET_IS(mxhal_weights_info, desc, 16);
MXHAL_SIZE_IS(mxhal_host, 40);
MXHAL_OFFSET_IS(mxhal_host, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_host, abi_minor, 4);
MXHAL_OFFSET_IS(mxhal_host, context, 8);
MXHAL_OFFSET_IS(mxhal_host, log, 16);
MXHAL_OFFSET_IS(mxhal_host, option_keys, 24);
MXHAL_OFFSET_IS(mxhal_host, option_values, 32);
MXHAL_SIZE_IS(mxhal_plugin, 288);
MXHAL_OFFSET_IS(mxhal_plugin, struct_size, 0);
MXHAL_OFFSET_IS(mxhal_plugin, abi_minor, 4);
MXHAL_OFFSET_IS(mxhal_plugin, self, 8);
MXHAL_OFFSET_IS(mxhal_plugin, shutdown, 16);
MXHAL_OFFSET_IS(mxhal_plugin, device_count, 24);
MXHAL_OFFSET_IS(mxhal_plugin, device_open, 32);
MXHAL_OFFSET_IS(mxhal_plugin, device_close, 40);
MXHAL_OFFSET_IS(mxhal_plugin, device_info, 48);
MXHAL_OFFSET_IS(mxhal_plugin, memory_alloc, 56);
MXHAL_OFFSET_IS(mxhal_plugin, memory_free, 64);
MXHAL_OFFSET_IS(mxhal_plugin, memory_info, 72);
MXHAL_OFFSET_IS(mxhal_plugin, memory_host_alloc, 80);
MXHAL_OFFSET_IS(mxhal_plugin, memory_host_free, 88);
MXHAL_OFFSET_IS(mxhal_plugin, stream_create, 96);
MXHAL_OFFSET_IS(mxhal_plugin, stream_wrap, 104);
MXHAL_OFFSET_IS(mxhal_plugin, stream_destroy, 112);
MXHAL_OFFSET_IS(mxhal_plugin, stream_synchronize, 120);
MXHAL_OFFSET_IS(mxhal_plugin, event_create, 128);
MXHAL_OFFSET_IS(mxhal_plugin, event_destroy, 136);
MXHAL_OFFSET_IS(mxhal_plugin, event_record, 144);
MXHAL_OFFSET_IS(mxhal_plugin, event_wait, 152);
MXHAL_OFFSET_IS(mxhal_plugin, event_synchronize, 160);
MXHAL_OFFSET_IS(mxhal_plugin, event_elapsed, 168);
MXHAL_OFFSET_IS(mxhal_plugin, copy_to_device, 176);
MXHAL_OFFSET_IS(mxhal_plugin, copy_to_host, 184);
MXHAL_OFFSET_IS(mxhal_plugin, copy_on_device, 192);
MXHAL_OFFSET_IS(mxhal_plugin, fill, 200);
MXHAL_OFFSET_IS(mxhal_plugin, op_supports, 208);
MXHAL_OFFSET_IS(mxhal_plugin, plan_create, 216);
MXHAL_OFFSET_IS(mxhal_plugin, plan_info, 224);
MXHAL_OFFSET_IS(mxhal_plugin, plan_run, 232);
MXHAL_OFFSET_IS(mxhal_plugin, plan_destroy, 240);
MXHAL_OFFSET_IS(mxhal_plugin, weights_prepare, 248);
MXHAL_OFFSET_IS(mxhal_plugin, weights_export, 256);
MXHAL_OFFSET_IS(mxhal_plugin, weights_info, 264);
MXHAL_OFFSET_IS(mxhal_plugin, weights_destroy, 272);
MXHAL_OFFSET_IS(mxhal_plugin, extension, 280);
#undef MXHAL_SIZE_IS
#undef MXHAL_OFFSET_IS
#undef MXHAL_STATIC_ASSERT
/* END GENERATED LAYOUT */

#ifdef __cplusplus
}
#endif

#endif /* MXHAL_H */
