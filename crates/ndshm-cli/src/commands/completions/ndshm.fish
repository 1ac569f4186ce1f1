# Completion of ndshm in fish: commands, options, arrays, stores and files.
function __ndshm_complete
    set -l words (commandline -opc)
    set -l candidates ($words[1] __complete fish -- $words (commandline -ct) 2>/dev/null)
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c ndshm -f -a '(__ndshm_complete)'
