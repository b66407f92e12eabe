/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MM_CORE_MEMPROT_H
#define MM_CORE_MEMPROT_H

#include <stddef.h>
#include <types_ext.h>

void *phys_to_virt_io(paddr_t pa, size_t len);

#endif
