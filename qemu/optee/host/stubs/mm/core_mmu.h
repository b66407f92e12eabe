/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MM_CORE_MMU_H
#define MM_CORE_MMU_H

#define register_phys_mem(type, addr, size) \
	_Static_assert((addr) + (size) == 0x04000000U, "the flash's end")

#endif
