// Buttons that copy the text of a field: <button data-copies="id of the field">.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copies);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    document.execCommand("copy"); // no clipboard object outside https and loopback
  }
  document.getElementById("status").textContent = "Copied.";
});
