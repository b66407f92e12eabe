/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KERNEL_TEE_TA_MANAGER_H
#define KERNEL_TEE_TA_MANAGER_H

#include <kernel/ts_manager.h>
#include <stddef.h>

struct tee_ta_ctx {
	struct ts_ctx ts_ctx;
	bool is_releasing;
};

static inline struct tee_ta_ctx *to_ta_ctx(struct ts_ctx *ctx)
{
	return (struct tee_ta_ctx *)((char *)ctx -
				     offsetof(struct tee_ta_ctx, ts_ctx));
}

void tee_ta_retire(const TEE_UUID *uuid);
bool tee_ta_has_instance(const TEE_UUID *uuid);

#endif
