"""Conversions to and from the 16-bit floats for processors that have no instructions for them.

LLVM then calls these functions of the C compiler's library, which may be old or absent; so they
are here, in IR. Rounding is to nearest even, from doubles too; a NaN stays a (quiet) NaN.
"""

from __future__ import annotations

SYMBOLS = ("__extendhfsf2", "__truncsfhf2", "__truncdfhf2", "__truncsfbf2", "__truncdfbf2")

SOURCE = """
; Halves below infinity: the bits moved into a float's place, scaled by 2^112 (subnormals too).
define float @__extendhfsf2(half %h) {
  %b = bitcast half %h to i16
  %x = zext i16 %b to i32
  %s = and i32 %x, 32768
  %sign = shl i32 %s, 16
  %m = and i32 %x, 32767
  %moved = shl i32 %m, 13
  %small = bitcast i32 %moved to float
  %scaled = fmul float %small, 0x46F0000000000000
  %finite = bitcast float %scaled to i32
  %special = or i32 %moved, 2139095040
  %is.special = icmp uge i32 %m, 31744
  %r = select i1 %is.special, i32 %special, i32 %finite
  %signed = or i32 %r, %sign
  %f = bitcast i32 %signed to float
  ret float %f
}

define half @__truncsfhf2(float %f) {
  %x = bitcast float %f to i32
  %s = lshr i32 %x, 16
  %sign = and i32 %s, 32768
  %a = and i32 %x, 2147483647
  %a.f = bitcast i32 %a to float
  ; below 2^-14: adding 0.5 leaves the rounded half in the low bits
  %sum = fadd float %a.f, 5.0e-01
  %sum.b = bitcast float %sum to i32
  %subnormal = sub i32 %sum.b, 1056964608
  %moved = sub i32 %a, 939524096
  %odd.s = lshr i32 %moved, 13
  %odd = and i32 %odd.s, 1
  %up = add i32 %moved, 4095
  %up.even = add i32 %up, %odd
  %normal = lshr i32 %up.even, 13
  %is.small = icmp ult i32 %a, 947912704
  %finite = select i1 %is.small, i32 %subnormal, i32 %normal
  %is.big = icmp uge i32 %a, 1199570944
  %number = select i1 %is.big, i32 31744, i32 %finite
  %p = lshr i32 %a, 13
  %payload = and i32 %p, 1023
  %nan = or i32 %payload, 32256
  %is.nan = icmp ugt i32 %a, 2139095040
  %r = select i1 %is.nan, i32 %nan, i32 %number
  %signed = or i32 %r, %sign
  %t = trunc i32 %signed to i16
  %h = bitcast i16 %t to half
  ret half %h
}

define bfloat @__truncsfbf2(float %f) {
  %x = bitcast float %f to i32
  %high = lshr i32 %x, 16
  %odd = and i32 %high, 1
  %up = add i32 %x, 32767
  %up.even = add i32 %up, %odd
  %number = lshr i32 %up.even, 16
  %nan = or i32 %high, 64
  %is.nan = fcmp uno float %f, %f
  %r = select i1 %is.nan, i32 %nan, i32 %number
  %t = trunc i32 %r to i16
  %h = bitcast i16 %t to bfloat
  ret bfloat %h
}

; The float next to d, with an odd last bit where d lies between two: it rounds on as d would.
define internal float @odd(double %d) {
  %f = fptrunc double %d to float
  %b = bitcast float %f to i32
  %back = fpext float %f to double
  %a = call double @llvm.fabs.f64(double %d)
  %c = call double @llvm.fabs.f64(double %back)
  %beyond = fcmp ogt double %c, %a
  %one = zext i1 %beyond to i32
  %below = sub i32 %b, %one
  %differs = fcmp one double %back, %d
  %last = zext i1 %differs to i32
  %r = or i32 %below, %last
  %g = bitcast i32 %r to float
  ret float %g
}

declare double @llvm.fabs.f64(double)

define half @__truncdfhf2(double %d) {
  %f = call float @odd(double %d)
  %h = call half @__truncsfhf2(float %f)
  ret half %h
}

define bfloat @__truncdfbf2(double %d) {
  %f = call float @odd(double %d)
  %h = call bfloat @__truncsfbf2(float %f)
  ret bfloat %h
}
"""
