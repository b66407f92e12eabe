/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KERNEL_TS_MANAGER_H
#define KERNEL_TS_MANAGER_H

#include <stdbool.h>
#include <tee_api_types.h>

struct ts_ctx {
	TEE_UUID uuid;
	bool is_user_ta;
};

struct ts_session {
	struct ts_ctx *ctx;
};

/* The TA that calls a pseudo TA, or that the loader works for; or NULL */
struct ts_session *ts_get_calling_session(void);
struct ts_session *ts_get_current_session_may_fail(void);

#endif
