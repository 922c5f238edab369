"""The server: OpenAI's API in front of one model. It needs the extra `serve`.

    request ──► door ──► schema ──► conversation ──► reader ──► engine ──► wire ──► answer
                key,     fields     URLs become      prompts    batches     JSON, SSE
                bytes               media

`application.create` puts it together. One thread reads prompts and encodes media, another one thinks and decodes.
"""
