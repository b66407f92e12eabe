// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a development image says at each start. Its trust anchors and TA key may
 * be those that everybody can make who has the source.
 */
#include <initcall.h>
#include <trace.h>

static TEE_Result announce(void)
{
	IMSG("WARNING: development image: not for a device");

	return TEE_SUCCESS;
}

boot_final(announce);
