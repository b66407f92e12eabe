/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KERNEL_EARLY_TA_H
#define KERNEL_EARLY_TA_H

#include <tee_api_types.h>

struct embedded_ts {
	TEE_UUID uuid;
};

/* There is one, whose UUID a test changes */
extern struct embedded_ts host_early_ta;

#define for_each_early_ta(ta) \
	for ((ta) = &host_early_ta; (ta) < &host_early_ta + 1; (ta)++)

#endif
