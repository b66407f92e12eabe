# Built into the core with CFG_OTRP_STORE=y; README.md says how to add it to a tree.
srcs-$(CFG_OTRP_STORE) += blob.c
srcs-$(CFG_OTRP_STORE) += commit.c
srcs-$(CFG_OTRP_STORE) += erasure.c
srcs-$(CFG_OTRP_STORE) += file.c
srcs-$(CFG_OTRP_STORE) += library.c
srcs-$(CFG_OTRP_STORE) += loader.c
srcs-$(CFG_OTRP_STORE) += pta.c
srcs-$(CFG_OTRP_STORE) += root.c
srcs-$(CFG_OTRP_STORE) += state.c
srcs-$(CFG_OTRP_STORE) += store.c

ifeq ($(CFG_OTRP_STORE),y)
ifneq ($(CFG_REE_FS)-$(CFG_WITH_USER_TA),y-y)
$(error CFG_OTRP_STORE=y needs CFG_REE_FS=y and CFG_WITH_USER_TA=y)
endif
# The loader has the place of the TA database's in the order of the TA stores.
ifeq ($(CFG_SECSTOR_TA),y)
$(error CFG_OTRP_STORE=y replaces the TA database: CFG_SECSTOR_TA=n)
endif
endif
