/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SYS_QUEUE_H
#define SYS_QUEUE_H

/* The host's, with what OP-TEE's has on top of it */
#include_next <sys/queue.h>

#define TAILQ_FOREACH_SAFE(var, head, field, next) \
	for ((var) = TAILQ_FIRST(head); \
	     (var) && ((next) = TAILQ_NEXT(var, field), 1); (var) = (next))

#endif
