{{/* What is at a dotted path of a map, as text; nothing where there is nothing. */}}
{{- define "polarway.at" -}}
{{- $at := .map -}}
{{- range splitList "." .path -}}
{{- $at = ternary $at dict (kindIs "map" $at) -}}
{{- $at = get $at . -}}
{{- end -}}
{{- if not (or (kindIs "invalid" $at) (kindIs "map" $at)) -}}{{- $at -}}{{- end -}}
{{- end -}}

{{/* Values that each fit and cannot work together. All of them are told at once. */}}
{{- define "polarway.restrictions" -}}
{{- $faults := list -}}
{{- $overEtcd := include "polarway.overEtcd" . -}}
{{- $v := .Values -}}

{{- if and $v.etcd.enabled $v.externalEtcd.endpoints -}}
{{- $faults = append $faults "etcd.enabled and externalEtcd.endpoints: there can be one etcd; set etcd.enabled=false to use your own" -}}
{{- end -}}
{{- if and $v.etcd.enabled (eq (mod (int $v.etcd.replicas) 2) 0) -}}
{{- $faults = append $faults (printf "etcd.replicas (%d): an even number of members survives no more losses than one less; use 1, 3 or 5" (int $v.etcd.replicas)) -}}
{{- end -}}
{{- if and (not $overEtcd) (gt (int $v.scheduler.replicas) 1) -}}
{{- $faults = append $faults (printf "scheduler.replicas (%d): several schedulers share their metadata by etcd; set etcd.enabled=true or externalEtcd.endpoints, or scheduler.replicas=1" (int $v.scheduler.replicas)) -}}
{{- end -}}
{{- if and $v.externalEtcd.endpoints $v.externalEtcd.tls.existingSecret -}}
{{- range $v.externalEtcd.endpoints -}}
{{- if not (hasPrefix "https://" .) -}}
{{- $faults = append $faults (printf "externalEtcd.tls: %s is not https" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.externalEtcd.tls.clientCertificate (not $v.externalEtcd.tls.existingSecret) -}}
{{- $faults = append $faults "externalEtcd.tls.clientCertificate: the certificate is in externalEtcd.tls.existingSecret, which is empty" -}}
{{- end -}}

{{- range $role := list "scheduler" "executor" "ingest" "etcd" -}}
{{- $values := index $v $role -}}
{{- if or (has $role (list "scheduler" "executor")) $values.enabled -}}
{{- $limit := ($values.resources.limits | default dict).memory -}}
{{- if and (not $limit) (not $values.memoryLimit) (has $role (list "scheduler" "executor")) -}}
{{- $faults = append $faults (printf "%s.resources.limits.memory is empty and so is %s.memoryLimit: the process would take 70 %% of its node's memory; set one of them" $role $role) -}}
{{- end -}}
{{- if and $limit $values.memoryLimit -}}
{{- $pool := include "polarway.bytes" (dict "size" $values.memoryLimit "key" (printf "%s.memoryLimit" $role)) | float64 -}}
{{- $all := include "polarway.bytes" (dict "size" $limit "key" (printf "%s.resources.limits.memory" $role)) | float64 -}}
{{- if gt $pool (mulf $all 0.8) -}}
{{- $faults = append $faults (printf "%s.memoryLimit (%s) is more than 80 %% of %s.resources.limits.memory (%s): what the pool does not count would have the pod killed" $role $values.memoryLimit $role $limit) -}}
{{- end -}}
{{- end -}}
{{- if $values.spillLimit -}}
{{- $spill := include "polarway.bytes" (dict "size" $values.spillLimit "key" (printf "%s.spillLimit" $role)) | float64 -}}
{{- $size := include "polarway.bytes" (dict "size" $values.volume.size "key" (printf "%s.volume.size" $role)) | float64 -}}
{{- if ge $spill $size -}}
{{- $faults = append $faults (printf "%s.spillLimit (%s) must be less than %s.volume.size (%s), or spilling has the pod evicted" $role $values.spillLimit $role $values.volume.size) -}}
{{- end -}}
{{- end -}}
{{- with $values.terminationGracePeriodSeconds -}}
{{- $needed := include "polarway.graceOf" $values | int -}}
{{- if lt (int .) $needed -}}
{{- $faults = append $faults (printf "%s.terminationGracePeriodSeconds (%d): the pause, the drain and 15 s take %d" $role (int .) $needed) -}}
{{- end -}}
{{- end -}}
{{- $pdb := $values.podDisruptionBudget -}}
{{- $least := int $values.replicas -}}
{{- if and (eq $role "executor") (ne $v.executor.autoscaling.kind "none") }}{{ $least = int $v.executor.autoscaling.minReplicas }}{{ end -}}
{{- if and $pdb.enabled (ne (toString $pdb.minAvailable) "") -}}
{{- if ne (toString $pdb.maxUnavailable) "" -}}
{{- $faults = append $faults (printf "%s.podDisruptionBudget: minAvailable and maxUnavailable exclude each other; set one to \"\"" $role) -}}
{{- end -}}
{{- if and (regexMatch "^[0-9]+$" (toString $pdb.minAvailable)) (ge (int $pdb.minAvailable) $least) -}}
{{- $faults = append $faults (printf "%s.podDisruptionBudget.minAvailable (%d) with %d replicas would let no node be drained" $role (int $pdb.minAvailable) $least) -}}
{{- end -}}
{{- end -}}
{{- if and $pdb.enabled (eq (toString $pdb.minAvailable) "") (eq (toString $pdb.maxUnavailable) "") -}}
{{- $faults = append $faults (printf "%s.podDisruptionBudget: set minAvailable or maxUnavailable, or enabled=false" $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $scaling := $v.executor.autoscaling -}}
{{- if ne $scaling.kind "none" -}}
{{- if lt (int $scaling.maxReplicas) (int $scaling.minReplicas) -}}
{{- $faults = append $faults (printf "executor.autoscaling.maxReplicas (%d) is less than minReplicas (%d)" (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (eq (int $scaling.minReplicas) 0) -}}
{{- $faults = append $faults "executor.autoscaling.minReplicas=0 needs kind=keda: a HorizontalPodAutoscaler does not scale to zero" -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (not $scaling.hpa.targetCPUUtilization) (not $scaling.hpa.tasksPerExecutor) (not $scaling.hpa.metrics) -}}
{{- $faults = append $faults "executor.autoscaling.hpa has no metric: set targetCPUUtilization, tasksPerExecutor or metrics" -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") $scaling.hpa.targetCPUUtilization (not ($v.executor.resources.requests | default dict).cpu) -}}
{{- $faults = append $faults "executor.autoscaling.hpa.targetCPUUtilization is a part of executor.resources.requests.cpu, which is empty" -}}
{{- end -}}
{{- if and (eq $scaling.kind "keda") (not $scaling.keda.prometheusAddress) (not $scaling.keda.triggers) -}}
{{- $faults = append $faults "executor.autoscaling.kind=keda reads queued work from Prometheus: set executor.autoscaling.keda.prometheusAddress, or triggers of your own" -}}
{{- end -}}
{{- if and (eq $scaling.kind "keda") (eq (int $scaling.minReplicas) 0) (lt (int $v.scheduler.executorWaitSeconds) 120) -}}
{{- $faults = append $faults (printf "executor.autoscaling.minReplicas=0: the first query waits until an executor has started; set scheduler.executorWaitSeconds (%d) to 120 or more" (int $v.scheduler.executorWaitSeconds)) -}}
{{- end -}}

{{- if and $v.shuffle.mode (ne $v.shuffle.mode "local") (not $v.shuffle.url) -}}
{{- $faults = append $faults (printf "shuffle.mode (%s) needs shuffle.url, the place for copies" $v.shuffle.mode) -}}
{{- end -}}
{{- if and (hasPrefix "http://" $v.objectStore.s3.endpoint) (not $v.objectStore.s3.allowHttp) -}}
{{- $faults = append $faults (printf "objectStore.s3.endpoint (%s) needs objectStore.s3.allowHttp=true" $v.objectStore.s3.endpoint) -}}
{{- end -}}
{{- $identity := $v.workloadIdentity -}}
{{- $keys := dict "aws" (list "objectStore.s3.existingSecret" $v.objectStore.s3.existingSecret "roleArn" $identity.roleArn) "gcp" (list "objectStore.gcs.existingSecret" $v.objectStore.gcs.existingSecret "serviceAccount" $identity.serviceAccount) "azure" (list "objectStore.azure.existingSecret" $v.objectStore.azure.existingSecret "clientId" $identity.clientId) -}}
{{- if $identity.provider -}}
{{- $of := get $keys $identity.provider -}}
{{- if index $of 1 -}}
{{- $faults = append $faults (printf "workloadIdentity.provider=%s and %s: the secret would win; set one of them" $identity.provider (index $of 0)) -}}
{{- end -}}
{{- if not (index $of 3) -}}
{{- $faults = append $faults (printf "workloadIdentity.provider=%s needs workloadIdentity.%s" $identity.provider (index $of 2)) -}}
{{- end -}}
{{- if not $v.serviceAccount.create -}}
{{- $faults = append $faults "workloadIdentity annotates the service account that the chart makes: set serviceAccount.create=true, or annotate your own and leave workloadIdentity.provider empty" -}}
{{- end -}}
{{- end -}}

{{- if and $v.identity.existingSecret $v.metrics.serviceMonitor.enabled (not $v.metrics.serviceMonitor.authorization.existingSecret) -}}
{{- $faults = append $faults "metrics.serviceMonitor.enabled with identity.existingSecret: schedulers give metrics to those with a token only; name a secret with one of the role read in metrics.serviceMonitor.authorization.existingSecret" -}}
{{- end -}}

{{- $certManager := $v.tls.certManager.enabled -}}
{{- if and $v.tls.enabled (not $certManager) (not $v.tls.existingSecret) -}}
{{- $faults = append $faults "tls.enabled: there is no certificate; set tls.existingSecret, or tls.certManager.enabled=true" -}}
{{- end -}}
{{- if and $certManager $v.tls.existingSecret -}}
{{- $faults = append $faults "tls.certManager.enabled and tls.existingSecret: there can be one certificate; set one of them" -}}
{{- end -}}
{{- if and $certManager (not $v.tls.certManager.issuerRef.name) -}}
{{- $faults = append $faults "tls.certManager.enabled needs tls.certManager.issuerRef.name" -}}
{{- end -}}
{{- range $key, $set := dict "existingSecret" $v.tls.existingSecret "certManager.enabled" $certManager "public.existingSecret" $v.tls.public.existingSecret -}}
{{- if and $set (not $v.tls.enabled) -}}
{{- $faults = append $faults (printf "tls.%s without tls.enabled: nothing would be encrypted; set tls.enabled=true" $key) -}}
{{- end -}}
{{- end -}}
{{- if and (or $v.tls.public.caKey $v.tls.public.host) (not $v.tls.public.existingSecret) -}}
{{- $faults = append $faults "tls.public.caKey and tls.public.host tell of the certificate in tls.public.existingSecret, which is empty" -}}
{{- end -}}
{{- if and $v.tls.enabled (eq $v.scheduler.results "direct") -}}
{{- $faults = append $faults "tls.enabled and scheduler.results=direct: clients would be sent to executors by addresses of pods, which are in no certificate; set scheduler.results=proxy" -}}
{{- end -}}

{{- if and $v.ingest.enabled (not (include "polarway.ingestDirectory" .)) -}}
{{- $faults = append $faults "ingest.enabled needs ingest.directory, where sealed rows go and all processes read them, such as s3://bucket/streams (or sharedVolume.enabled)" -}}
{{- end -}}
{{- if and $v.ingest.enabled (hasPrefix "/" $v.ingest.directory) (not (and $v.sharedVolume.enabled (hasPrefix (printf "%s/" $v.sharedVolume.mountPath) $v.ingest.directory))) -}}
{{- $faults = append $faults (printf "ingest.directory (%s) is in no volume that all processes share; use an object store, or a directory below sharedVolume.mountPath" $v.ingest.directory) -}}
{{- end -}}
{{- if and $v.tests.enabled $v.tests.required (not (include "polarway.tables" .)) -}}
{{- $faults = append $faults "tests.required: the test makes a table; set storage.tables or sharedVolume.enabled" -}}
{{- end -}}

{{- range $name, $config := dict "config" $v.config "scheduler.config" $v.scheduler.config "executor.config" $v.executor.config "ingest.config" $v.ingest.config -}}
{{- range $key, $value := dict
      "data_dir" "the volumes"
      "identity.tokens" "identity.existingSecret" "identity.process_secret" "identity.existingSecret" "identity.trusted_network" "identity.existingSecret"
      "tls.certificate" "tls.existingSecret" "tls.key" "tls.existingSecret" "tls.ca" "tls.existingSecret" "tls.process_name" "tls.processName"
      "tls.public_certificate" "tls.public.existingSecret" "tls.public_key" "tls.public.existingSecret"
      "scheduler.listen" "listenHost" "scheduler.http_listen" "listenHost" "scheduler.advertise_host" "the pod's address"
      "scheduler.drain_timeout" "scheduler.drainSeconds" "scheduler.ticket_secret" "scheduler.ticketSecret.existingSecret"
      "executor.listen" "listenHost" "executor.http_listen" "listenHost" "executor.advertise_host" "the pod's address"
      "executor.name" "the pod's name" "executor.drain_timeout" "executor.drainSeconds" "executor.memory_limit" "executor.memoryLimit"
      "query.memory_limit" "scheduler.memoryLimit" "query.spill_limit" "spillLimit of a role"
      "ingest.listen" "listenHost" "ingest.directory" "ingest.directory" "ingest.log_limit" "ingest.logLimit"
      "metastore.etcd" "etcd or externalEtcd" "metastore.user" "externalEtcd.auth.existingSecret" "metastore.password" "externalEtcd.auth.existingSecret"
      "shuffle.url" "shuffle.url"
      "storage.allowed" "storage.allowed" "storage.tables" "storage.tables"
      "storage.s3.access_key_id" "objectStore.s3.existingSecret" "storage.s3.secret_access_key" "objectStore.s3.existingSecret" "storage.s3.session_token" "objectStore.s3.existingSecret" -}}
{{- if include "polarway.at" (dict "map" $config "path" $key) -}}
{{- $faults = append $faults (printf "%s has %s, which comes from %s" $name $key $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $faults -}}
{{- fail (printf "\n\nThese values cannot work:\n- %s\n" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}
