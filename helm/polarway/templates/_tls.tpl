{{/* Certificates: where they are, and what names they have. */}}

{{/* The secret with the certificate of the processes. */}}
{{- define "polarway.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "polarway.fullname" .) -}}
{{- else -}}
{{- tpl .Values.tls.existingSecret . -}}
{{- end -}}
{{- end -}}

{{/* Secret and key of the authority that users trust, as JSON; nothing without TLS, or where systems trust it anyway. */}}
{{- define "polarway.clientAuthority" -}}
{{- if .Values.tls.enabled -}}
{{- with .Values.tls.public -}}
{{- if not .existingSecret -}}
{{- dict "secret" (include "polarway.tlsSecret" $) "key" "ca.crt" | toJson -}}
{{- else if .caKey -}}
{{- dict "secret" (tpl .existingSecret $) "key" .caKey | toJson -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The host by which users call schedulers, as their certificate has it. */}}
{{- define "polarway.clientHost" -}}
{{- $own := printf "%s.%s.svc" (include "polarway.fullname" .) .Release.Namespace -}}
{{- ternary (.Values.tls.public.host | default $own) $own (not (empty (and .Values.tls.enabled .Values.tls.public.existingSecret))) -}}
{{- end -}}

{{/* What an endpoint of Flight SQL begins with. */}}
{{- define "polarway.clientScheme" -}}
{{- if .Values.tls.enabled -}}https://{{- end -}}
{{- end -}}

{{/* Names of a certificate for all servers, as JSON: the processes' own, those of Services, and those of single pods. */}}
{{- define "polarway.dnsNames" -}}
{{- $services := list (include "polarway.fullname" .) (include "polarway.registration" .) -}}
{{- $services = append $services (include "polarway.rolename" (dict "root" . "role" "executor")) -}}
{{- $pods := list (include "polarway.registration" .) -}}
{{- if .Values.ingest.enabled -}}
{{- $ingest := include "polarway.rolename" (dict "root" . "role" "ingest") -}}
{{- $services = concat $services (list $ingest (printf "%s-pods" $ingest)) -}}
{{- $pods = append $pods (printf "%s-pods" $ingest) -}}
{{- end -}}
{{- $names := list .Values.tls.processName "localhost" -}}
{{- range $name := concat $services $pods | uniq -}}
{{- $domain := printf "%s.%s" $name $.Release.Namespace -}}
{{- $ends := list "" ".svc" (printf ".svc.%s" $.Values.tls.certManager.clusterDomain) -}}
{{- if has $name $services -}}
{{- $names = append $names $name -}}
{{- range $ends }}{{ $names = append $names (print $domain .) }}{{ end -}}
{{- end -}}
{{- if has $name $pods -}}
{{- range $ends }}{{ $names = append $names (print "*." $domain .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range .Values.tls.certManager.extraDnsNames }}{{ $names = append $names (tpl . $) }}{{ end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

{{/* What proxies are told of a Service's ports. */}}
{{- define "polarway.grpcProtocol" -}}
{{- ternary "https" "kubernetes.io/h2c" .Values.tls.enabled -}}
{{- end -}}

{{- define "polarway.httpProtocol" -}}
{{- if .Values.tls.enabled }}, appProtocol: https{{ end -}}
{{- end -}}
