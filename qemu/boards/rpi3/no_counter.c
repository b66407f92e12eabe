// SPDX-License-Identifier: BSD-2-Clause
/*
 * There is no monotonic counter on a Raspberry Pi 3, and this stands for that:
 * the counter is zero for ever, so OP-TEE takes an older secure storage, or a
 * deleted one, for the last one. Takes the place of the weak functions in
 * core/kernel/nv_counter.c, so that CFG_INSECURE=n can stay on for key and
 * entropy, and says at every start what is missing.
 *
 * What the SoC has of write-once bits is 256, fewer than the changes of one
 * day, and the normal world can write them too.
 */
#include <initcall.h>
#include <kernel/nv_counter.h>
#include <trace.h>

TEE_Result nv_counter_get_ree_fs(uint32_t *value)
{
	*value = 0;
	return TEE_SUCCESS;
}

TEE_Result nv_counter_incr_ree_fs_to(uint32_t value __unused)
{
	return TEE_SUCCESS;
}

static TEE_Result say_so(void)
{
	IMSG("WARNING: no monotonic counter: an older secure storage is accepted");
	return TEE_SUCCESS;
}
boot_final(say_so);
