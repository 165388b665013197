{{/* Sizes and numbers of cores, as Kubernetes ("4Gi", "500m") and as Polarway ("4GiB") write them. */}}

{{/* dict "size" text "key" the value's name; gives bytes */}}
{{- define "polarway.bytes" -}}
{{- $text := .size | toString -}}
{{- if not (regexMatch "^[0-9]+(\\.[0-9]+)?([kKMGTP]i?)?B?$" $text) -}}
{{- fail (printf "%s: %q is no size; write for example \"8Gi\" or \"8GiB\"" .key $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- $unit := regexReplaceAll "B$" (regexReplaceAll "^[0-9.]+" $text "") "" -}}
{{- $factors := dict "" 1 "k" 1000 "K" 1000 "Ki" 1024 "ki" 1024 "M" 1000000 "Mi" 1048576 "G" 1000000000 "Gi" 1073741824 "T" 1000000000000 "Ti" 1099511627776 "P" 1000000000000000 "Pi" 1125899906842624 -}}
{{- mulf $number (get $factors $unit) | int64 -}}
{{- end -}}

{{/* dict "cpu" text; whole cores, rounded up */}}
{{- define "polarway.cores" -}}
{{- $text := .cpu | toString -}}
{{- if hasSuffix "m" $text -}}
{{- divf (trimSuffix "m" $text | float64) 1000 | ceil | int64 -}}
{{- else -}}
{{- $text | float64 | ceil | int64 -}}
{{- end -}}
{{- end -}}

{{/* The cores that a role's process is given: its limit, or what it asks for. Without either it takes the node's. */}}
{{- define "polarway.coresOf" -}}
{{- $limits := .limits | default dict -}}
{{- $requests := .requests | default dict -}}
{{- with $limits.cpu | default $requests.cpu -}}
{{- include "polarway.cores" (dict "cpu" .) -}}
{{- end -}}
{{- end -}}

{{/* Bytes that queries of a role's process may take: what is set, or the 70 % of its limit that the process takes itself. */}}
{{- define "polarway.memoryOf" -}}
{{- if .values.memoryLimit -}}
{{- include "polarway.bytes" (dict "size" .values.memoryLimit "key" (printf "%s.memoryLimit" .role)) -}}
{{- else -}}
{{- with (.values.resources.limits | default dict).memory -}}
{{- mulf (include "polarway.bytes" (dict "size" . "key" (printf "%s.resources.limits.memory" $.role)) | float64) 0.7 | int64 -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Seconds that a role's pod may take to end: the pause, the drain and what comes after it. */}}
{{- define "polarway.graceOf" -}}
{{- add .preStopSeconds .drainSeconds 15 -}}
{{- end -}}
