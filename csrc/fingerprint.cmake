# Writes a header with the digest of the files behind "--": all that two processes must agree on.
#
#   cmake -DROOT=FOLDER -DMADE=HEADER -P fingerprint.cmake -- FILES...
set(files "")
set(listed OFF)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(number RANGE ${last})
  if(listed)
    file(RELATIVE_PATH name "${ROOT}" "${CMAKE_ARGV${number}}")
    list(APPEND files "${name}")
  elseif("${CMAKE_ARGV${number}}" STREQUAL "--")
    set(listed ON)
  endif()
endforeach()
list(SORT files)
set(digests "")
foreach(name ${files})
  file(SHA256 "${ROOT}/${name}" digest)
  string(APPEND digests "${name} ${digest}\n")
endforeach()
string(SHA256 whole "${digests}")
file(WRITE "${MADE}.new" "// Made by csrc/fingerprint.cmake.\n#pragma once\n
namespace pyserver::bindings {
inline constexpr char kSourceFingerprint[] = \"${whole}\";
}\n")
file(COPY_FILE "${MADE}.new" "${MADE}")
file(REMOVE "${MADE}.new")
