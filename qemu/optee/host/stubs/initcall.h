/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INITCALL_H
#define INITCALL_H

/* Nothing runs at the start on the host */
#define service_init(function) \
	TEE_Result (*const host_service_init)(void) = (function)

#endif
