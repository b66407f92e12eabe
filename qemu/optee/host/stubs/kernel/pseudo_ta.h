/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KERNEL_PSEUDO_TA_H
#define KERNEL_PSEUDO_TA_H

#include <stdint.h>
#include <tee_api_types.h>

#define TEE_NUM_PARAMS		4
#define PTA_DEFAULT_FLAGS	0

struct pseudo_ta_head {
	TEE_UUID uuid;
	const char *name;
	uint32_t flags;
	TEE_Result (*open_session_entry_point)(uint32_t types,
					       TEE_Param params[TEE_NUM_PARAMS],
					       void **session);
	void (*close_session_entry_point)(void *session);
	TEE_Result (*invoke_command_entry_point)(void *session, uint32_t cmd,
						 uint32_t types,
						 TEE_Param params[TEE_NUM_PARAMS]);
};

/* There is one */
extern const struct pseudo_ta_head host_pseudo_tas[1];

#define pseudo_ta_register(...) \
	const struct pseudo_ta_head host_pseudo_tas[1] = { { __VA_ARGS__ } }

#define SCATTERED_ARRAY_FOREACH(item, name, type) \
	for ((item) = host_##name; (item) < host_##name + 1; (item)++)

#endif
