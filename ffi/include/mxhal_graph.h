/* mxhal_graph.h: the extension "mxhal.ext.graph" of the plugin ABI.
 *
 * What is enqueued on a stream between capture_begin and capture_end does not run, but becomes a graph: kernels with the
 * addresses that they were given, copies and fills. Launching it enqueues all of it at once, and again each time. So a
 * decode step of many small kernels is captured once, and costs one call a token.
 *
 * A host asks for the table with mxhal_plugin.extension(self, MXHAL_EXT_GRAPH); null where the plugin has no graphs. The
 * rules R1 to R9 of mxhal.h hold here too. Of plans, those may be run while a stream is captured whose mxhal_answer has
 * MXHAL_CAPTURABLE among its properties. Of the functions that take a stream, stream_synchronize may not be called then,
 * and copies to and from host memory only with memory that lives as long as the graph.
 */
#ifndef MXHAL_GRAPH_H
#define MXHAL_GRAPH_H

#include "mxhal.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MXHAL_EXT_GRAPH "mxhal.ext.graph"

typedef struct mxhal_graph mxhal_graph;

typedef struct mxhal_graph_table {
  uint32_t struct_size; /* the plugin's */
  uint32_t reserved;    /* 0 */

  /* INVALID_ARGUMENT on a stream that is being captured; UNSUPPORTED where this device or this stream cannot be. */
  int32_t (*capture_begin)(mxhal_stream *stream, mxhal_error *error);
  /* Ends it; the stream runs again what it is given, also where this fails because something in between could not be
   * captured. The graph is the caller's, and ready to be launched. */
  int32_t (*capture_end)(mxhal_stream *stream, mxhal_graph **graph, mxhal_error *error);
  /* Enqueues all of it on a stream of the same device, whichever it was captured on. What its addresses point to lives
   * until the stream has passed it. One graph is launched by one thread at a time. */
  int32_t (*graph_launch)(const mxhal_graph *graph, mxhal_stream *stream, mxhal_error *error);
  /* Launches under way go on. Destroying null is OK. */
  int32_t (*graph_destroy)(mxhal_graph *graph, mxhal_error *error);
} mxhal_graph_table;

#ifdef __cplusplus
}
#endif

#endif /* MXHAL_GRAPH_H */
