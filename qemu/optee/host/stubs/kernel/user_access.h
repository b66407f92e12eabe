/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KERNEL_USER_ACCESS_H
#define KERNEL_USER_ACCESS_H

#include <string.h>
#include <tee_api_types.h>

static inline TEE_Result copy_from_user(void *core, const void *user, size_t n)
{
	memcpy(core, user, n);
	return TEE_SUCCESS;
}

static inline TEE_Result copy_to_user(void *user, const void *core, size_t n)
{
	memcpy(user, core, n);
	return TEE_SUCCESS;
}

static inline TEE_Result clear_user(void *user, size_t n)
{
	memset(user, 0, n);
	return TEE_SUCCESS;
}

#endif
