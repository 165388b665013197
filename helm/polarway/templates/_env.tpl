{{/* The environment of processes: what differs between pods, and secrets. */}}

{{/* extraEnv is a list of EnvVar or a map of names and texts. dict "root" "extra" */}}
{{- define "polarway.extraEnv" -}}
{{- if kindIs "map" .extra -}}
{{- range $name, $value := .extra }}
- name: {{ $name }}
  value: {{ tpl (toString $value) $.root | quote }}
{{- end }}
{{- else if .extra -}}
{{- tpl (toYaml .extra) .root | nindent 0 }}
{{- end }}
{{- end -}}

{{/* dict "name" "secret" "key" */}}
{{- define "polarway.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{- define "polarway.fieldEnv" -}}
- name: {{ .name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ .path }}
{{- end -}}

{{/* Access to the object stores. */}}
{{- define "polarway.storeEnv" -}}
{{- with .Values.objectStore.s3 }}
{{- if .existingSecret }}
{{- $secret := tpl .existingSecret $ }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_STORAGE__S3__ACCESS_KEY_ID" "secret" $secret "key" .accessKeyIdKey) }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_STORAGE__S3__SECRET_ACCESS_KEY" "secret" $secret "key" .secretAccessKeyKey) }}
{{- with .sessionTokenKey }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_STORAGE__S3__SESSION_TOKEN" "secret" $secret "key" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.objectStore.gcs.existingSecret }}
- name: GOOGLE_SERVICE_ACCOUNT
  value: /etc/polarway/gcs/{{ .Values.objectStore.gcs.key }}
{{- end }}
{{- with .Values.objectStore.azure }}
{{- with .accountName }}
- name: AZURE_STORAGE_ACCOUNT_NAME
  value: {{ . | quote }}
{{- end }}
{{- if .existingSecret }}
{{ include "polarway.secretEnv" (dict "name" "AZURE_STORAGE_ACCOUNT_KEY" "secret" (tpl .existingSecret $) "key" .accountKeyKey) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Access to an etcd of one's own. */}}
{{- define "polarway.etcdEnv" -}}
{{- $auth := .Values.externalEtcd.auth -}}
{{- if and (not .Values.etcd.enabled) $auth.existingSecret }}
{{- $secret := tpl $auth.existingSecret . }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_METASTORE__USER" "secret" $secret "key" $auth.userKey) }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_METASTORE__PASSWORD" "secret" $secret "key" $auth.passwordKey) }}
{{- end }}
{{- end -}}

{{/* Who may call. Without TLS executors cannot tell callers of their ports apart: the network has to. dict "root" "role" */}}
{{- define "polarway.identityEnv" -}}
{{- $identity := .root.Values.identity -}}
{{- $tls := .root.Values.tls.enabled -}}
{{- if and $identity.existingSecret (ne .role "executor") }}
- name: POLARWAY_IDENTITY__TOKENS
  value: /etc/polarway/identity/{{ $identity.tokensKey }}
{{- else if not (and $tls (eq .role "executor")) }}
- name: POLARWAY_IDENTITY__TRUSTED_NETWORK
  value: "true"
{{- end }}
{{- if and $identity.existingSecret (not $tls) }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_IDENTITY__PROCESS_SECRET" "secret" (tpl $identity.existingSecret .root) "key" $identity.processSecretKey) }}
{{- end }}
{{- end -}}

{{/* What servers show, and whom they take for one of theirs. */}}
{{- define "polarway.tlsEnv" -}}
{{- if .Values.tls.enabled }}
- name: POLARWAY_TLS__CERTIFICATE
  value: /etc/polarway/tls/tls.crt
- name: POLARWAY_TLS__KEY
  value: /etc/polarway/tls/tls.key
- name: POLARWAY_TLS__CA
  value: /etc/polarway/tls/ca.crt
- name: POLARWAY_TLS__PROCESS_NAME
  value: {{ .Values.tls.processName | quote }}
{{- if .Values.tls.public.existingSecret }}
- name: POLARWAY_TLS__PUBLIC_CERTIFICATE
  value: /etc/polarway/tls-public/tls.crt
- name: POLARWAY_TLS__PUBLIC_KEY
  value: /etc/polarway/tls-public/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{/* What a client of the release shows, and whom it trusts. */}}
{{- define "polarway.clientEnv" -}}
{{- with .Values.identity }}
{{- if .existingSecret }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_TOKEN" "secret" (tpl .existingSecret $) "key" .clientTokenKey) }}
{{- end }}
{{- end }}
{{- if include "polarway.clientAuthority" . }}
- name: POLARWAY_TLS_CA
  value: /etc/polarway/tls/ca.crt
{{- end }}
{{- end -}}

{{/* dict "root" "role" */}}
{{- define "polarway.env" -}}
{{- $values := index .root.Values .role -}}
{{ include "polarway.fieldEnv" (dict "name" "POD_NAME" "path" "metadata.name") }}
{{- if eq .role "scheduler" }}
{{ include "polarway.fieldEnv" (dict "name" "POLARWAY_SCHEDULER__ADVERTISE_HOST" "path" "status.podIP") }}
{{- with .root.Values.scheduler.ticketSecret }}
{{- if .existingSecret }}
{{ include "polarway.secretEnv" (dict "name" "POLARWAY_SCHEDULER__TICKET_SECRET" "secret" (tpl .existingSecret $.root) "key" .key) }}
{{- end }}
{{- end }}
{{- else }}
{{- if and .root.Values.tls.enabled (eq .role "ingest") }}
# Senders are sent on to it, and look for it in the certificate.
- name: POLARWAY_EXECUTOR__ADVERTISE_HOST
  value: $(POD_NAME).{{ include "polarway.rolename" . }}-pods.{{ .root.Release.Namespace }}.svc
{{- else }}
{{ include "polarway.fieldEnv" (dict "name" "POLARWAY_EXECUTOR__ADVERTISE_HOST" "path" "status.podIP") }}
{{- end }}
{{ include "polarway.fieldEnv" (dict "name" "POLARWAY_EXECUTOR__NAME" "path" "metadata.name") }}
{{- end }}
{{- include "polarway.identityEnv" . }}
{{- include "polarway.tlsEnv" .root }}
{{- include "polarway.etcdEnv" .root }}
{{- include "polarway.storeEnv" .root }}
{{- include "polarway.extraEnv" (dict "root" .root "extra" .root.Values.extraEnv) }}
{{- include "polarway.extraEnv" (dict "root" .root "extra" $values.extraEnv) }}
{{- end -}}
