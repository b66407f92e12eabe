// SPDX-License-Identifier: BSD-2-Clause
/*
 * Hardware unique key of an emulated device. QEMU's virt machine has no fuses,
 * so the key sits in the OP-TEE image behind a marker, and whoever packs the
 * boot flash of a device writes that device's own key there. Takes the place
 * of the constant in core/kernel/otp_stubs.c.
 *
 * An image whose key was never written has zeros there, as everybody's copy of
 * it has: it does not boot.
 */
#include <initcall.h>
#include <kernel/panic.h>
#include <kernel/tee_common_otp.h>
#include <trace.h>

/* volatile: the compiler must not use the value it sees here. */
static const volatile struct {
	char marker[16];
	uint8_t key[HW_UNIQUE_KEY_LENGTH];
} device_huk = { .marker = "@@DEVICE-HUK-01@" };

TEE_Result tee_otp_get_hw_unique_key(struct tee_hw_unique_key *hwkey)
{
	size_t n = 0;

	for (n = 0; n < sizeof(hwkey->data); n++)
		hwkey->data[n] = device_huk.key[n];

	return TEE_SUCCESS;
}

static TEE_Result check_device_huk(void)
{
	uint8_t any = 0;
	size_t n = 0;

	for (n = 0; n < HW_UNIQUE_KEY_LENGTH; n++)
		any |= device_huk.key[n];
	if (!any) {
		EMSG("This device has no hardware key: write one behind its marker");
		panic();
	}

	return TEE_SUCCESS;
}

early_init(check_device_huk);
