# Completion of ndshm in bash: commands, options, arrays, stores and files.
_ndshm() {
    local IFS=$'\n' candidate
    COMPREPLY=($("$1" __complete bash --breaks "$COMP_WORDBREAKS" -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    # Behind a store or a directory the word goes on.
    for candidate in "${COMPREPLY[@]}"; do
        [[ $candidate == */ ]] || return 0
    done
    compopt -o nospace 2>/dev/null
}
complete -o bashdefault -o default -F _ndshm ndshm
