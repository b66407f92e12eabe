/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TRACE_H
#define TRACE_H

/* The core reports each of the faults that are injected: silent here */
#define EMSG(...) do { } while (0)
#define IMSG(...) do { } while (0)
#define DMSG(...) do { } while (0)
#define FMSG(...) do { } while (0)

#endif
