// SPDX-License-Identifier: BSD-2-Clause
/*
 * Seed of the random number generator of an emulated device. Without it OP-TEE
 * seeds its generator with the time since the start, and two devices, or one
 * after its storage was deleted, make the same keys. Takes the place of the
 * weak function in core/tee/tee_cryp_utl.c. A vendor reads his board's hardware
 * generator instead.
 *
 * QEMU's virt machine with secure=on puts a new seed for the secure world into
 * the device tree at every start. The tree lies in memory that Linux reads, so
 * the seeds there are overwritten before Linux starts.
 */
#include <crypto/crypto.h>
#include <kernel/dt.h>
#include <kernel/panic.h>
#include <libfdt.h>
#include <string.h>
#include <string_ext.h>
#include <tee/tee_cryp_utl.h>
#include <util.h>

#define SEED_SIZE	32

void plat_rng_init(void)
{
	static const char *const secrets[] = { "rng-seed", "kaslr-seed" };
	uint8_t seed[SEED_SIZE] = { };
	void *fdt = get_external_dt();
	const void *given = NULL;
	int node = 0;
	int len = 0;
	size_t n = 0;

	if (!fdt)
		panic("No device tree, and so no seed for random numbers");
	node = fdt_path_offset(fdt, "/secure-chosen");
	given = fdt_getprop(fdt, node, "rng-seed", &len);
	if (!given || len < SEED_SIZE)
		panic("The device tree has no seed for random numbers");

	memcpy(seed, given, SEED_SIZE);
	for (n = 0; n < ARRAY_SIZE(secrets); n++)
		if (fdt_getprop(fdt, node, secrets[n], NULL) &&
		    fdt_nop_property(fdt, node, secrets[n]))
			panic("A seed stays in the device tree");

	if (crypto_rng_init(seed, SEED_SIZE))
		panic("The random number generator does not start");
	memzero_explicit(seed, SEED_SIZE);
}
