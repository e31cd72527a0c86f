/* Error codes that this room puts on the wire, in a range of their own beside the application's. */
#ifndef ATL_PEER_CODES_H
#define ATL_PEER_CODES_H

#include <stdint.h>

/* Of connections. */
#define ATL_CLOSE_REFUSED UINT64_C(0x2a7a5201)    /* nobody takes inbound connections */
#define ATL_CLOSE_UNUSED UINT64_C(0x2a7a5202)     /* another attempt of the same dial was faster */
#define ATL_CLOSE_DISCONNECT UINT64_C(0x2a7a5203) /* the answer to Disconnect */
#define ATL_CLOSE_SHUTDOWN UINT64_C(0x2a7a5204)   /* the node is going away */
#define ATL_CLOSE_PROTOCOL UINT64_C(0x2a7a5205)   /* the control stream broke its rules */
#define ATL_CLOSE_NO_HELLO UINT64_C(0x2a7a5206)   /* no Hello within the handshake timeout */
#define ATL_CLOSE_RESOURCES UINT64_C(0x2a7a5207)  /* out of memory */

/* Of streams. */
#define ATL_STREAM_REFUSED UINT64_C(0x2a7a5281)   /* the application takes no streams */
#define ATL_STREAM_TOO_LARGE UINT64_C(0x2a7a5282) /* a message longer than max_message_size */
#define ATL_STREAM_BUSY UINT64_C(0x2a7a5283)    /* too many incomplete messages, or bytes of them */
#define ATL_STREAM_UNKNOWN UINT64_C(0x2a7a5284) /* a unidirectional stream of unknown type */
#define ATL_STREAM_RESOURCES UINT64_C(0x2a7a5285) /* out of memory */

/* The first byte of every unidirectional stream: what it is. */
#define ATL_UNI_MESSAGE 0x00
#define ATL_UNI_STREAM 0x01

#endif
